/** The tables of push zones, in the control plane's database: a change of files and its place in the log are one transaction. */

/** Made by the step of the database's layout that brings zones. */
export const ZONE_TABLES = `
CREATE TABLE zones (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, site TEXT, index_document TEXT NOT NULL, error_document TEXT,
  keep INTEGER NOT NULL, preposition INTEGER NOT NULL, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, deleted_ms INTEGER,
  release INTEGER, changed INTEGER NOT NULL DEFAULT 0, released INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE UNIQUE INDEX zones_by_name ON zones (name) WHERE deleted_ms IS NULL;
CREATE TABLE zone_blobs (hash TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE zone_files (
  zone INTEGER NOT NULL, path TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER, hash TEXT NOT NULL, bytes INTEGER NOT NULL,
  type TEXT NOT NULL, etag TEXT, fields TEXT NOT NULL, checksums TEXT NOT NULL, modified_ms INTEGER NOT NULL, until_ms INTEGER,
  PRIMARY KEY (zone, path, since)) STRICT, WITHOUT ROWID;
CREATE INDEX zone_files_past ON zone_files (until_ms) WHERE until_ms IS NOT NULL;
CREATE INDEX zone_files_by_hash ON zone_files (hash);
CREATE TABLE zone_releases (
  zone INTEGER NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
  note TEXT NOT NULL, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, active_ms INTEGER, PRIMARY KEY (zone, number)) STRICT;
CREATE TABLE zone_release_files (
  zone INTEGER NOT NULL, number INTEGER NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, bytes INTEGER NOT NULL, type TEXT NOT NULL,
  PRIMARY KEY (zone, number, path)) STRICT, WITHOUT ROWID;
CREATE INDEX zone_release_files_by_hash ON zone_release_files (hash);
CREATE TABLE zone_uploads (
  id TEXT PRIMARY KEY, zone INTEGER NOT NULL, path TEXT NOT NULL, type TEXT NOT NULL, fields TEXT NOT NULL, started_ms INTEGER NOT NULL) STRICT;
CREATE TABLE zone_parts (
  upload TEXT NOT NULL, number INTEGER NOT NULL, hash TEXT NOT NULL, bytes INTEGER NOT NULL, etag TEXT NOT NULL, uploaded_ms INTEGER NOT NULL,
  PRIMARY KEY (upload, number)) STRICT, WITHOUT ROWID;
CREATE INDEX zone_parts_by_hash ON zone_parts (hash);
`;
