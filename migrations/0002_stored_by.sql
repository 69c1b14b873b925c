-- For our own uploads: the provider's clock when the upload had ended. A version stored no later than this is ours, even
-- when the store altered it. NULL for what somebody else stored.
ALTER TABLE base ADD COLUMN remote_stored_by_ns INTEGER;
