/** Limits of push storage, each with a name. */

/** Largest file, in bytes: what S3 takes in one piece. */
export const FILE_BYTES_MAX = 5 * 1024 ** 3;
/** Largest file that is put together of parts, in bytes. */
export const ASSEMBLED_BYTES_MAX = 64 * 1024 ** 3;
/** Longest path of a file, in bytes of UTF-8 (as S3), and of one segment of it. */
export const PATH_BYTES_MAX = 1_024;
export const SEGMENT_BYTES_MAX = 255;
/** Entries of one page of a listing (as S3). */
export const LIST_PAGE_MAX = 1_000;
/** Entries of one listing in Bunny's shape, which has no pages. */
export const LIST_ALL_MAX = 50_000;
/** Files that one request deletes (as S3). */
export const DELETE_MAX = 1_000;
/** Largest XML body of a request, in bytes. */
export const XML_BYTES_MAX = 4 * 1024 * 1024;
/** Fields that are kept with a file, and their length together, in characters (S3: 2 KB of metadata). */
export const KEPT_FIELDS_MAX = 64;
export const KEPT_FIELDS_CHARS_MAX = 8_192;
/** Parts of a multipart upload, and uploads of a zone that are under way (as S3). */
export const PARTS_MAX = 10_000;
export const UPLOADS_MAX = 1_000;
/** Smallest part that is not the last one, in bytes (as S3). */
export const PART_BYTES_MIN = 5 * 1024 * 1024;
/** An upload that nobody ends is given up after so long, in milliseconds. */
export const UPLOAD_KEPT_MS = 7 * 86_400_000;
/** Bodies that are taken at the same time, of all zones. */
export const WRITES_MAX = 256;
/** Piece in which a file is read, in bytes. */
export const PIECE_BYTES = 128 * 1024;
/** A line of an aws-chunked body before its chunk, and its trailers together, in bytes. */
export const CHUNK_LINE_BYTES_MAX = 512;
export const CHUNK_TRAILER_BYTES_MAX = 8_192;
/** Files of a release. */
export const RELEASE_FILES_MAX = 100_000;
/** Releases of a zone that are kept unless it says otherwise. */
export const RELEASES_KEPT_DEFAULT = 10;
export const RELEASES_KEPT_MAX = 1_000;
/** Content that nothing refers to stays for so long: a push that was interrupted finds it, in milliseconds. */
export const UNUSED_KEPT_MS = 24 * 3_600_000;
/** What older places of the log show stays for so long: nodes that are behind ask for it, in milliseconds. */
export const PAST_KEPT_MS = 24 * 3_600_000;
/** Changed paths that are purged one by one; more purge the whole zone. */
export const PURGED_PATHS_MAX = 10_000;
/** Hosts of a site under which new files are asked for ahead of viewers, and URLs of one change. */
export const FILLED_HOSTS_MAX = 5;
export const FILLED_URLS_MAX = 10_000;
