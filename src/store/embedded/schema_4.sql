-- What apps name is kept under a hash of the name by a secret of this store: cheaper than the SHA-256 of before, for which
-- every look-up of the Redis door had to pay.
ALTER TABLE store ADD COLUMN secret BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
UPDATE store SET secret = randomblob(16);
UPDATE sessions SET key = key_of_name((SELECT secret FROM store), database, name) WHERE database IS NOT NULL;
UPDATE plain_keys SET key = key_of_name((SELECT secret FROM store), database, name);
-- These have the old hash and no name. They live for a minute by default, which a change of release takes as a rule.
DELETE FROM tombstones;
