//! Values that mean harm: deep, large, lying about their lengths, or larger inside than outside.

use std::time::{Duration, Instant};

use sessgate::session::identity::{Format, Raw, Rule};

use super::NoUser::{Anonymous, Unknown};
use super::encode::zlib;
use super::{NoUser, user_at, user_of};

const MIB: usize = 1 << 20;

/// What takes milliseconds, even on a busy machine; and what is not bounded, takes for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn found(format: Format, bytes: &[u8]) -> Result<String, NoUser> {
    let named = user_of(&Rule::new(format, None, None, None), bytes);
    assert_eq!(user_of(&Rule::default(), bytes), named, "as {format} and by itself");
    named
}

#[test]
fn deep_nesting_is_read_to_a_depth_and_no_further() {
    for (format, begin, open, middle, close, end) in [
        (Format::Json, &b"{\"a\":"[..], &b"["[..], &b"1"[..], &b"]"[..], &b"}"[..]),
        (Format::Json, b"{\"a\":", b"{\"b\":", b"1", b"}", b"}"),
        (Format::MessagePack, b"\x81\xa1a", b"\x91", b"\x01", b"", b""),
        (Format::MessagePack, b"\x81\xa1a", b"\x81\xa1b", b"\x01", b"", b""),
        (Format::Php, b"a:1:{s:1:\"a\";", b"a:1:{i:0;", b"N;", b"}", b"}"),
        (Format::Php, b"a|", b"O:1:\"A\":1:{i:0;", b"N;", b"}", b""),
        (Format::Ruby, b"\x04\x08{\x06:\x06a", b"[\x06", b"0", b"", b""),
        (Format::Ruby, b"\x04\x08{\x06:\x06a", b"o:\x06A\x06:\x06b", b"0", b"", b""),
    ] {
        let value = |depth: usize| [begin, &open.repeat(depth), middle, &close.repeat(depth), end].concat();
        assert_eq!(found(format, &value(127)), Err(Anonymous), "{format}");
        assert_eq!(found(format, &value(100_000)), Err(Unknown), "{format}");
    }
    // A pickle keeps its containers apart, so that their depth is nothing to it.
    let pickle = |depth: usize| {
        [&b"\x80\x04}\x8c\x07user_idK\x05s\x8c\x01a"[..], &b"]".repeat(depth), &b"a".repeat(depth - 1), b"s."].concat()
    };
    assert_eq!(found(Format::Django, &pickle(10_000)).as_deref(), Ok("5"));
    assert_eq!(found(Format::Django, &pickle(100_000)), Err(Unknown));
    assert_eq!(found(Format::Django, &[&b"\x80\x04"[..], &b"(".repeat(100_000), b"."].concat()), Err(Unknown));
}

/// What stands before a value and says nothing by itself must not nest without end either.
#[test]
fn prefixes_without_end() {
    for prefix in [&b"I"[..], b"C:\x06A", b"e:\x06A", b"U:\x06A", b"IU:\x06A", b"}\0", b"I}\0"] {
        let value = [&b"\x04\x08"[..], &prefix.repeat(100_000)].concat();
        assert_eq!(found(Format::Ruby, &value), Err(Unknown), "{prefix:?}");
    }
    let wrapped = (0..10).fold(b"{\"user_id\":5}".to_vec(), |inside, _| {
        [format!("s:{}:\"", inside.len()).as_bytes(), &inside, b"\";"].concat()
    });
    assert_eq!(found(Format::Php, &wrapped), Err(Unknown));
}

#[test]
fn lengths_that_lie_cost_nothing() {
    let begun = Instant::now();
    let huge = b"\xff\xff\xff\xff\xff\xff\xff\x7f";
    for value in [
        &b"\xdf\xff\xff\xff\xff"[..],
        b"\xdd\xff\xff\xff\xff\x01",
        b"\x81\xdb\xff\xff\xff\xffuser_id",
        b"\x81\xc6\xff\xff\xff\xffuser_id",
        b"\x81\xc9\xff\xff\xff\xff\x01user_id",
        b"a:4294967295:{i:0;N;}",
        b"a:18446744073709551616:{}",
        b"s:18446744073709551615:\"x\";",
        b"O:9223372036854775807:\"A\":1:{}",
        b"C:1:\"A\":18446744073709551615:{}",
        b"user_id|s:99999999999999999999:\"x\";",
        b"S:18446744073709551615:\"x\";",
        b"\x04\x08[\x04\xff\xff\xff\xff0",
        b"\x04\x08{\x04\xff\xff\xff\xff0",
        b"\x04\x08[\xfc\0\0\0\x80",
        b"\x04\x08\"\x04\xff\xff\xff\xffx",
        b"\x04\x08l+\x04\xff\xff\xff\xffx",
        b"\x04\x08Io:\x06A\0\x04\xff\xff\xff\xff",
        b"\x04\x08@\x04\xff\xff\xff\x7f",
        b"\x04\x08;\x04\xff\xff\xff\x7f",
        b"\x80\x04X\xff\xff\xff\xffx.",
        b"\x80\x04\x8b\xff\xff\xff\xffx.",
        &[&b"\x80\x04\x8d"[..], huge, b"x."].concat(),
        &[&b"\x80\x04\x96"[..], huge, b"x."].concat(),
        b"\x80\x04Nr\xff\xff\xff\xff.",
        b"\x80\x04j\xff\xff\xff\xff.",
        b"\x80\x04Np18446744073709551615\n.",
        b"\x80\x04Np-1\n.",
        b"\x02user_id",
    ] {
        let known = user_of(&Rule::default(), value);
        let link = value.starts_with(b"\x04\x08@");
        assert_eq!(known, Err(if link { Anonymous } else { Unknown }), "{value:?}");
    }
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_stream_that_inflates_beyond_the_bound_is_unknown() {
    let session = |filler: usize| format!("{{\"user_id\":\"ann\",\"x\":\"{}\"}}", "x".repeat(filler)).into_bytes();
    assert_eq!(found(Format::Django, &zlib(&session(MIB - 100))).as_deref(), Ok("ann"));
    assert_eq!(found(Format::Django, &zlib(&session(MIB))), Err(Unknown));
    let bomb = zlib(&vec![b' '; 20 * MIB]);
    assert!(bomb.len() < 22_000);
    assert_eq!(found(Format::Django, &bomb), Err(Unknown));
    // In one another, and one beside the other: the bound is for all of them together.
    assert_eq!(found(Format::Django, &zlib(&zlib(&zlib(&zlib(&session(9)))))), Err(Unknown));
    for (stream, count) in [(zlib(&vec![b' '; MIB]), 1_000), (zlib(b" "), 60_000)] {
        let mut many = [&b"\xdd"[..], &u32::to_be_bytes(count)].concat();
        for _ in 0..count {
            many.push(0xc5);
            many.extend(u16::try_from(stream.len()).unwrap().to_be_bytes());
            many.extend(&stream);
        }
        let begun = Instant::now();
        let named = user_of(&user_at(Format::Auto, "/*/user_id"), &many);
        assert_eq!(named, Err(Anonymous));
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
}

#[test]
fn containers_that_hold_one_another_many_times_over() {
    // Each list holds the one before ten times: 10^30 values by way of any element.
    let mut pickle = b"\x80\x04]q\0".to_vec();
    for level in 1..=30_u8 {
        pickle.push(b']');
        (0..10).for_each(|_| pickle.extend([b'h', level - 1, b'a']));
        pickle.extend([b'q', level]);
    }
    pickle.push(b'.');
    assert_eq!(user_of(&user_at(Format::Django, "/*/*/*/*/*/*/*/*"), &pickle), Err(Unknown));
    // One that holds itself.
    let pickle = b"\x80\x04}q\0(\x8c\x04userh\0\x8c\x02idK\x05u.";
    assert_eq!(found(Format::Django, pickle).as_deref(), Ok("5"));
    assert_eq!(user_of(&user_at(Format::Django, "/user/user/user/user/id"), pickle).as_deref(), Ok("5"));
}

#[test]
fn pickles_that_take_what_is_not_there() {
    for program in [
        &b"."[..],
        b"0.",
        b"1.",
        b"2.",
        b"(",
        b"(.",
        b"N(.",
        b"N(s.",
        b"s.",
        b"a.",
        b"u.",
        b"e.",
        b"(u.",
        b"N(NNu.",
        b"}(Nu.",
        b"}N(Ns.",
        b"t.",
        b"(NN\x86",
        b"\x85.",
        b"N\x86.",
        b"N(\x85.",
        b"R.",
        b"NR.",
        b"N(R.",
        b"b.",
        b"Nb.",
        b"q\0.",
        b"N(q\0.",
        b"h\0.",
        b"Q.",
        b"\x93.",
        b"N\x93.",
        b"\x92.",
        b"i\n.",
        b"c\n.",
        b"I\n",
        b"Fx\n.",
        b"S\n.",
        b"Sx\n.",
        b"\x8a\xff.",
        b"N\xff.",
        b"N..",
        b"\x95N.",
        b"g\n.",
    ] {
        assert_eq!(found(Format::Django, &[b"\x80\x04", program].concat()), Err(Unknown), "{program:?}");
    }
}

#[test]
fn a_value_of_many_parts_is_read_in_time_that_grows_with_it() {
    let begun = Instant::now();
    let json = format!("{{\"cart\":[{}0],\"user_id\":5}}", "0,".repeat(MIB / 2));
    assert_eq!(user_of(&Rule::default(), json.as_bytes()).as_deref(), Ok("5"));
    let json = format!("{{\"user\":[{}0],\"user_id\":5}}", "[],".repeat(MIB / 3));
    assert_eq!(user_of(&Rule::default(), json.as_bytes()).as_deref(), Ok("5"));
    let php = "!|".repeat(MIB / 2);
    assert_eq!(user_of(&Rule::default(), php.as_bytes()), Err(Anonymous));
    let php = format!("user_id|i:5;{}", "|N;".repeat(MIB / 3));
    assert_eq!(user_of(&Rule::default(), php.as_bytes()).as_deref(), Ok("5"));
    for filler in [&b"("[..], b"N", b"]", b"}", b"K\x05", b"N0", b"\x8c\0", b"(1"] {
        let _ = user_of(&Rule::default(), &[&b"\x80\x04"[..], &filler.repeat(MIB / filler.len())].concat());
    }
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn hashes_of_many_or_large_fields() {
    let value = vec![b'x'; MIB];
    assert!(Rule::default().extract(Raw::Fields(&[(&b"x"[..], &value[..]); 3])).known);
    assert!(!Rule::default().extract(Raw::Fields(&[(&b"x"[..], &value[..]); 5])).known);
    let many = vec![(&b"x"[..], &[b'x'; 63][..]); MIB / 8];
    assert!(!Rule::default().extract(Raw::Fields(&many)).known);
}
