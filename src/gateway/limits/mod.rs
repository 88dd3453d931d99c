//! The limits that the gateway keeps itself. The store keeps the others, because they must hold atomically with
//! the write: sessions a user and the caps of the storage tier; [`storage_cap`] only decides when to tidy up.

pub(super) mod creation_rate;
pub(super) mod leases;
pub(super) mod storage_cap;
