//! The readers of session values: no panic, no overflow, bounded memory. `SESSGATE_FORMAT` names the format.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sessgate::session::identity::{Format, Path, Raw, Rule};

/// What one extraction may have allocated at a time: 1 MiB inflated, twice while it grows, and what is kept of it.
const MOST_ALLOCATED: usize = 8 << 20;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call is passed on as it is; the counters are plain cells of the thread, which do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|allocated| {
            allocated.set(allocated.get() + layout.size());
            PEAK.set(PEAK.get().max(allocated.get()));
        });
        // SAFETY: as for this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get().saturating_sub(layout.size())));
        // SAFETY: as for this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static FORMAT: LazyLock<Format> =
    LazyLock::new(|| std::env::var("SESSGATE_FORMAT").map_or(Format::Auto, |name| name.parse().expect("a format")));

static RULES: LazyLock<[Rule; 3]> = LazyLock::new(|| {
    let path = |text: &str| text.parse::<Path>().expect("a path");
    [
        Rule::new(*FORMAT, None, None, None),
        Rule::new(*FORMAT, Some(&path("/*/*/*")), Some(&path("/*")), Some(&path("/*/*"))),
        Rule::new(*FORMAT, Some(&path("")), Some(&path("")), Some(&path("/a*d"))),
    ]
});

fuzz_target!(|bytes: &[u8]| {
    for rule in &*RULES {
        let before = ALLOCATED.get();
        PEAK.set(before);
        let identity = if *FORMAT == Format::Hash {
            let (name, value) = bytes.split_at(bytes.len().min(8));
            rule.extract(Raw::Fields(&[(b"user", bytes), (name, value)]))
        } else {
            rule.extract(Raw::Value(bytes))
        };
        let allocated = PEAK.get() - before;
        assert!(allocated <= MOST_ALLOCATED, "{allocated} bytes for {}", bytes.len());
        assert!(identity.known || identity.user.is_none());
    }
    if *FORMAT == Format::Json
        && let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes)
        && !value.is_string()
    {
        let nowhere: Path = "/no such key".parse().expect("a path");
        let rule = Rule::new(Format::Json, Some(&nowhere), Some(&nowhere), Some(&nowhere));
        assert!(rule.extract(Raw::Value(bytes)).known);
    }
});
