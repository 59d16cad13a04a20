/** What the HTTP shapes of storage need of the zones: files by path, uploads in parts, and who may do what. */
import type { BodyReader } from "../http/body.ts";
import type { ReceivedRequest, SigV4Fault, VerifiedSignature } from "../http/sigv4/verify.ts";
import type { ChecksumName } from "./checksums.ts";
import type { Announced, Taken } from "./intake.ts";

/** A zone. */
export interface Zone {
  /** Never used for another zone. */
  readonly id: number;
  readonly name: string;
  /** The site that it belongs to; null for who may all. */
  readonly site: string | null;
  readonly createdMs: number;
}

/** What a file is, apart from where it is. */
export interface FileContent {
  readonly hash: string;
  readonly bytes: number;
  readonly type: string;
  /** Entity tag without its quotes, where the API that it came by has one of its own. */
  readonly etag: string | null;
  /** Fields that are given back with it: cache-control, content-encoding, x-amz-meta-... */
  readonly fields: Readonly<Record<string, string>>;
  readonly checksums: Readonly<Partial<Record<ChecksumName, string>>>;
}

/** A file of a zone. */
export interface ZoneFile extends FileContent {
  readonly path: string;
  readonly modifiedMs: number;
}

/** A page of a zone's files, in the order of their paths' bytes. */
export interface ListPage {
  readonly files: readonly ZoneFile[];
  /** Beginnings of paths up to and with the delimiter, each once. */
  readonly folders: readonly string[];
  /** Where the next page begins; null for the last one. */
  readonly next: string | null;
}

/** An upload in parts. */
export interface PartUpload {
  readonly id: string;
  readonly path: string;
  readonly type: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly startedMs: number;
}

/** A part of one. */
export interface UploadedPart {
  readonly number: number;
  readonly hash: string;
  readonly bytes: number;
  /** MD5 in hexadecimal. */
  readonly etag: string;
  readonly uploadedMs: number;
}

/** Who asks. */
export interface Principal {
  readonly id: string;
  readonly name: string;
  mayRead(zone: Zone): boolean;
  mayWrite(zone: Zone): boolean;
}

/** The zones. Throws StorageErrors. */
export interface ZoneStore {
  zone(name: string): Zone | null;
  /** Zones that `who` may read. */
  zones(who: Principal): readonly Zone[];
  get(zone: Zone, path: string): ZoneFile | null;
  list(
    zone: Zone,
    how: {
      readonly prefix: string;
      readonly after: string;
      readonly delimiter: string;
      readonly limit: number;
    },
  ): ListPage;
  /** Takes a body; until it is named by `put` it is kept for a while only. */
  take(body: BodyReader | null, announced: Announced): Promise<Taken>;
  /** Names content: from now on it is what the path shows. `condition` is asked within the change. */
  put(
    zone: Zone,
    path: string,
    content: FileContent,
    by: Principal,
    condition?: (now: ZoneFile | null) => void,
  ): ZoneFile;
  /** Takes files away; returns those that were there. */
  delete(zone: Zone, paths: readonly string[], by: Principal): readonly string[];
  /** Takes a folder and everything in it away; returns how many files that were. */
  deleteFolder(zone: Zone, prefix: string, by: Principal): number;
  /** The bytes of a file. */
  read(content: Pick<FileContent, "hash" | "bytes">, start: number, end: number): Promise<BodyReader>;
  beginUpload(zone: Zone, path: string, type: string, fields: Readonly<Record<string, string>>): PartUpload;
  upload(zone: Zone, path: string, id: string): PartUpload;
  uploads(zone: Zone, prefix: string): readonly PartUpload[];
  addPart(upload: PartUpload, part: Omit<UploadedPart, "uploadedMs">): void;
  parts(upload: PartUpload): readonly UploadedPart[];
  endUpload(upload: PartUpload): void;
}

/** Who may come in. */
export interface StorageGuard {
  /** By a token's text, as AccessKey or bearer; null when it is none that is good. */
  byToken(text: string): Principal | null;
  bySignature(
    request: ReceivedRequest,
  ): { readonly principal: Principal; readonly signature: VerifiedSignature } | SigV4Fault;
  /** Notes a change in the audit log. */
  done(who: Principal, address: string, action: string, target: string): void;
  /** Seconds to wait before an address is listened to again; 0 for none. Notes the refusal in the audit log. */
  refused(address: string, action: string, detail: string): number;
}
