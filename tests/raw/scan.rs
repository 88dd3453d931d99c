//! Listing the names of a key space.

use std::collections::BTreeSet;

use sessgate::session::{Content, RawName};
use sessgate::store::Store;
use sessgate::store::raw::{Deadline, RawOp, RawPage};

use super::{Keys, delete, hset, name, rename, set, set_until};
use crate::support::sessions::MINUTE;

async fn page(keys: &Keys, after: u64, max: usize) -> RawPage {
    keys.store.scan_raw(0, after, max, keys.terms).await.unwrap()
}

/// Every name, page by page, and what is done between two pages.
async fn scanned(keys: &Keys, max: usize, between: &mut impl AsyncFnMut(&Keys)) -> Vec<RawName> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = page(keys, after, max).await;
        assert!(page.keys.len() <= 2 * max);
        all.extend(page.keys.into_iter().map(|(name, _)| name));
        if page.next == 0 {
            return all;
        }
        assert!(page.next > after || page.next % 2 > after % 2, "it gets on");
        after = page.next;
        between(keys).await;
    }
}

/// Sessions and plain keys, half of them soon expired, one in another key space.
async fn filled() -> (Keys, BTreeSet<RawName>) {
    let mut keys = Keys::new();
    let soon = keys.soon(1);
    let mut ops = Vec::new();
    for n in 0..23 {
        for kind in ["s", "p"] {
            let deadline = if n % 2 == 0 { Deadline::None } else { Deadline::At(soon) };
            ops.push(set_until(&format!("{kind}:{n}"), "x", deadline));
        }
    }
    let elsewhere = RawOp::HSet { name: RawName::new(3, b"s:0"), pairs: vec![(Box::default(), Box::default())] };
    ops.push(elsewhere);
    keys.all(ops).await;
    keys.wait(MINUTE);
    let stay = (0..23).step_by(2).flat_map(|n| [name(&format!("s:{n}")), name(&format!("p:{n}"))]);
    (keys, stay.collect())
}

#[tokio::test]
async fn what_is_there_is_listed_once_whatever_the_pages() {
    let (keys, stay) = filled().await;
    for max in [1, 2, 3, 7, 12, 23, 24, 100] {
        let all = scanned(&keys, max, &mut async |_| {}).await;
        assert_eq!(all.len(), stay.len(), "pages of {max}");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), stay, "pages of {max}");
    }
    assert_eq!(
        keys.store.scan_raw(3, 0, 9, keys.terms).await.unwrap().keys,
        [(RawName::new(3, b"s:0"), Content::Hash)]
    );
    assert!(keys.store.scan_raw(4, 0, 9, keys.terms).await.unwrap().keys.is_empty());
    assert_eq!(keys.store.count_raw(0).await.unwrap(), 46, "the expired count until they are swept");
    assert!(page(&keys, u64::MAX, 9).await.keys.is_empty(), "nobody is that far behind");
}

#[tokio::test]
async fn what_stays_is_listed_while_others_come_and_go() {
    let (keys, stay) = filled().await;
    for max in [1, 3, 10] {
        let mut n = 0;
        let mut between = async |keys: &Keys| {
            n += 1;
            let (new, old) = (format!("s:new-{n}"), format!("s:new-{}", n - 1));
            let ops = vec![
                set(&new, "x"),
                hset(&format!("p:new-{n}"), "f", "x"),
                rename(&new, &format!("s:moved-{n}")),
                delete(&old),
                delete(&format!("p:new-{}", n - 1)),
                set("s:0", &"grows".repeat(n % 5)),
                set("p:0", &"grows".repeat(n % 5)),
            ];
            keys.all(ops).await;
        };
        // What is new may be met again and again, so it is made only for so long as the old is listed.
        let all: BTreeSet<_> = scanned(&keys, max * 2, &mut between).await.into_iter().collect();
        assert!(stay.is_subset(&all), "pages of {max}");
    }
}

#[tokio::test]
async fn names_come_with_what_their_values_are() {
    let keys = Keys::new();
    keys.all(vec![set("s:text", "x"), hset("s:hash", "f", "x"), set("p:text", "x"), hset("p:hash", "f", "x")]).await;
    let listed = page(&keys, 0, 9).await.keys;
    let expected = [
        (name("s:text"), Content::Text),
        (name("s:hash"), Content::Hash),
        (name("p:text"), Content::Text),
        (name("p:hash"), Content::Hash),
    ];
    assert_eq!(listed, expected);
}
