-- What tells this store from any other, an emptied one included: who has written to it can see whether it is the same.
CREATE TABLE store (id BLOB NOT NULL) STRICT;
INSERT INTO store VALUES (randomblob(16));
