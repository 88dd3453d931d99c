//! The clocks in force, where every look-up reads them: four plain numbers, without a lock or a reference count.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::session::Clocks;

/// [`Clocks`] that a reload changes while look-ups read them.
///
/// A look-up that reads just then may see some old and some new numbers. Each of them was or is in force, so it judges
/// as if it had come a moment earlier or later.
#[derive(Debug)]
pub(super) struct LiveClocks {
    idle: AtomicI64,
    absolute: AtomicI64,
    stale: AtomicI64,
    touch: AtomicI64,
}

impl LiveClocks {
    pub(super) fn new(clocks: Clocks) -> Self {
        let Clocks { idle, absolute, stale, touch } = clocks;
        Self { idle: idle.into(), absolute: absolute.into(), stale: stale.into(), touch: touch.into() }
    }

    #[inline]
    pub(super) fn load(&self) -> Clocks {
        Clocks {
            idle: self.idle.load(Ordering::Relaxed),
            absolute: self.absolute.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            touch: self.touch.load(Ordering::Relaxed),
        }
    }

    pub(super) fn store(&self, clocks: Clocks) {
        let Clocks { idle, absolute, stale, touch } = clocks;
        self.idle.store(idle, Ordering::Relaxed);
        self.absolute.store(absolute, Ordering::Relaxed);
        self.stale.store(stale, Ordering::Relaxed);
        self.touch.store(touch, Ordering::Relaxed);
    }
}
