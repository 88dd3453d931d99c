-- What apps name is kept under a hash of the name by a secret of this store, cheaper than the SHA-256 of before, for which
-- every look-up of the Redis door had to pay. The keys themselves are changed in Rust, which knows the hash.
ALTER TABLE store ADD COLUMN secret BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
UPDATE store SET secret = randomblob(16);
-- Tombstones have the old hash, and no name to make the new one of. So a save that has been under way since before the
-- change of release can bring an ended session back, this once.
DELETE FROM tombstones;
