//! Every store there is, opened empty for a test.

use std::ops::Deref;
use std::sync::Arc;

use sessgate::store::Store;
use sessgate::store::embedded::{EmbeddedStore, Options};
use tempfile::TempDir;

use super::model_store::ModelStore;
use super::sessions::{START, SeededGenerator};

/// A store, and the directory it lives in, if it needs one.
pub struct Opened {
    pub store: Arc<dyn Store>,
    _directory: Option<TempDir>,
}

impl Deref for Opened {
    type Target = dyn Store;
    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

/// The reference.
pub fn model() -> Opened {
    Opened { store: Arc::new(ModelStore::new(Arc::new(SeededGenerator::default()))), _directory: None }
}

/// The embedded store.
pub fn embedded() -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let store = open_embedded(directory.path());
    Opened { store: Arc::new(store), _directory: Some(directory) }
}

/// The embedded store in a directory, with a reserve small enough to be made in no time.
pub fn open_embedded(directory: &std::path::Path) -> EmbeddedStore {
    let options = Options { reserve_bytes: 64 * 1024, ..Options::default() };
    EmbeddedStore::open_with(directory, START, Arc::new(SeededGenerator::default()), options).unwrap()
}

impl Opened {
    /// A store that needs nothing to be kept.
    pub fn of(store: Arc<dyn Store>) -> Self {
        Self { store, _directory: None }
    }
}
