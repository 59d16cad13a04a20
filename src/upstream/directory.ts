/**
 * A directory of files as an origin: what a small static file server would answer, without the server.
 * The root's real path is taken anew for each request, so that a release can be switched by moving a
 * symbolic link; nothing outside of it is ever opened. Every answer describes the one file it opened.
 *
 * Freshness: a name with a hash of its content is immutable for a year; a page (HTML) is revalidated each
 * time, since an old page names assets that a deployment has removed, and asking this origin costs only a
 * look at the file; everything else carries Last-Modified and no Cache-Control, so that the behaviour's
 * TTLs or the heuristic (RFC 9111 section 4.2.2) decide.
 */
import { constants } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { type BodyReader, bodyOf } from "../http/body.ts";
import { evaluateConditional } from "../http/conditional.ts";
import { formatHttpDate } from "../http/date.ts";
import { Fields } from "../http/fields.ts";
import { isFingerprinted } from "../http/fingerprint.ts";
import { extensionType } from "../http/media-type.ts";
import { formatContentRange, formatUnsatisfiedRange, ifRangeMatches, parseRange } from "../http/range.ts";
import { FileBody, type FileVersion, givenUp, versionOf, within } from "./file-body.ts";
import { areVisible, type FileName, fileNameOf } from "./file-name.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "./next-hop.ts";
import { madeResponse, ownAnswer } from "./own-answer.ts";

/** Files that one directory holds open at a time; a request beyond that fails instead of starving the node. */
export const OPEN_FILES_MAX = 4096;

const IMMUTABLE = "public, max-age=31536000, immutable";
const REVALIDATE = "public, max-age=0, must-revalidate";

/** How a directory origin is made. */
export interface DirectoryOptions {
  /** The origin's name in the config. */
  readonly name: string;
  /** Path of the directory; may be, or lead through, a symbolic link. */
  readonly root: string;
  /** File that answers for a directory, such as `index.html`. */
  readonly index: string;
  readonly clock: Clock;
  /** Whether the node permits this real path as a root; asked for each request. */
  readonly allowRoot?: (realPath: string) => boolean;
}

/** What a name leads to: an open file, a folder asked for without its slash, or a refusal. */
type Found =
  | { readonly kind: "file"; readonly file: FileHandle }
  | { readonly kind: "folder" }
  | { readonly kind: "absent" }
  | { readonly kind: "forbidden" };

/** An origin that answers GET and HEAD from the files below a directory. */
export class DirectoryOrigin implements NextHop {
  readonly name: string;
  readonly #root: string;
  readonly #index: string;
  readonly #clock: Clock;
  readonly #allowRoot: (realPath: string) => boolean;
  #openFiles = 0;

  constructor(options: DirectoryOptions) {
    this.name = options.name;
    this.#root = options.root;
    this.#index = options.index;
    this.#clock = options.clock;
    this.#allowRoot = options.allowRoot ?? (() => true);
  }

  /** Number of files that are open for a body right now. */
  get openFiles(): number {
    return this.#openFiles;
  }

  /** Answers from the files. Rejects when the root can not be read, or a file system does not answer in time. */
  async fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    const { signal } = request;
    if (signal?.aborted) throw givenUp();
    const startMs = this.#clock.now();
    const answering = this.#answer(request, startMs, timeouts);
    const answer = await within(this.#clock, timeouts.firstByteMs, signal, answering, (late) =>
      late.body?.cancel(),
    );
    // Only now: where this rejects, another next hop may be asked with the same body.
    request.body?.cancel();
    return answer;
  }

  close(): void {
    // Every body holds its own file and nothing else is kept.
  }

  async #answer(
    request: UpstreamRequest,
    startMs: number,
    timeouts: UpstreamTimeouts,
  ): Promise<UpstreamResponse> {
    const head = request.method === "HEAD";
    if (!head && request.method !== "GET") {
      return this.#plain(405, "Method Not Allowed", head, startMs, [["allow", "GET, HEAD"]]);
    }
    const name = fileNameOf(request.target);
    if (name.kind === "malformed") return this.#plain(400, "Bad Request", head, startMs);
    const root = await this.#realRoot();
    if (name.kind === "refused") return this.#plain(404, "Not Found", head, startMs);

    const found = await this.#find(root, name);
    switch (found.kind) {
      case "absent":
        return this.#plain(404, "Not Found", head, startMs);
      case "forbidden":
        return this.#plain(403, "Forbidden", head, startMs);
      case "folder":
        return this.#plain(301, "Moved Permanently", head, startMs, [["location", withSlash(name)]]);
      case "file":
        // By the name asked for, not the one a symbolic link leads to: `latest.js` is never immutable.
        return await this.#file(found.file, this.#lastName(name), request, startMs, timeouts);
    }
  }

  /** The root's real path, permitted by the node. */
  async #realRoot(): Promise<string> {
    let real: string;
    try {
      real = await realpath(this.#root);
    } catch (error) {
      throw new UpstreamError(
        "connection_refused",
        `origin "${this.name}": the directory ${this.#root} can not be read: ${messageOf(error)}`,
        { cause: error },
      );
    }
    if (!this.#allowRoot(real)) {
      throw new UpstreamError(
        "destination_ip_prohibited",
        `origin "${this.name}": this node does not permit the directory ${real}`,
      );
    }
    return real;
  }

  #lastName(name: FileName & { kind: "name" }): string {
    return name.slash ? this.#index : (name.segments.at(-1) ?? this.#index);
  }

  async #find(root: string, name: FileName & { kind: "name" }): Promise<Found> {
    try {
      const asked = join(root, ...name.segments);
      const path = await realpath(name.slash ? join(asked, this.#index) : asked);
      // A symbolic link may lead out of the root, or to what is hidden.
      if (!isBelow(root, path)) return { kind: "absent" };
      if (!name.slash && (await stat(path)).isDirectory()) return { kind: "folder" };
      return await this.#open(path);
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** Opens a real path. Without O_NONBLOCK opening a named pipe would wait for a writer for ever. */
  async #open(path: string): Promise<Found> {
    if (this.#openFiles >= OPEN_FILES_MAX) {
      throw new UpstreamError(
        "proxy_internal_error",
        `origin "${this.name}": ${OPEN_FILES_MAX} files are open, which is the limit`,
      );
    }
    this.#openFiles += 1;
    let file: FileHandle | null = null;
    try {
      file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      if ((await file.stat()).isFile()) return { kind: "file", file };
    } catch (error) {
      await this.#release(file);
      throw error;
    }
    await this.#release(file);
    return { kind: "absent" };
  }

  async #release(file: FileHandle | null): Promise<void> {
    this.#openFiles -= 1;
    await file?.close().catch(() => {});
  }

  /** The answer for an open file, which this closes unless the answer's body owns it. */
  async #file(
    file: FileHandle,
    name: string,
    request: UpstreamRequest,
    startMs: number,
    timeouts: UpstreamTimeouts,
  ): Promise<UpstreamResponse> {
    let owned = true;
    try {
      const version = await versionOf(file);
      const size = Number(version.size);
      const nowMs = this.#clock.now();
      const validators = validatorsOf(version, nowMs);
      const fields = this.#fieldsOf(name, validators);
      const respond = (status: number, length: number | null, body: BodyReader | null): UpstreamResponse => {
        if (length !== null) fields.set("content-length", String(length));
        return madeResponse({ status, fields, length, body, startMs, endMs: this.#clock.now() });
      };

      const condition = evaluateConditional(request.method, request.fields, validators);
      if (condition === "not-modified") {
        fields.delete("content-type");
        return respond(304, null, null);
      }
      if (condition === "precondition-failed") {
        return this.#plain(412, "Precondition Failed", request.method === "HEAD", startMs);
      }
      // Range is defined for GET only (RFC 9110 section 14.2).
      if (request.method === "HEAD") return respond(200, size, null);

      const span = spanOf(request.fields, validators, size, nowMs);
      if (span === "unsatisfiable") {
        return this.#plain(416, "Range Not Satisfiable", false, startMs, [
          ["content-range", formatUnsatisfiedRange(size)],
        ]);
      }
      if (span.partial) fields.set("content-range", formatContentRange(span.start, span.end - 1, size));
      const length = span.end - span.start;
      const status = span.partial ? 206 : 200;
      if (length === 0) return respond(status, 0, bodyOf(new Uint8Array(0)));
      owned = false;
      const body = new FileBody({
        file,
        start: span.start,
        end: span.end,
        version,
        clock: this.#clock,
        readLimitMs: timeouts.betweenBytesMs,
        signal: request.signal,
        onClose: () => {
          this.#openFiles -= 1;
        },
      });
      return respond(status, length, body);
    } finally {
      if (owned) await this.#release(file);
    }
  }

  #fieldsOf(name: string, validators: { readonly etag: string; readonly lastModifiedMs: number }): Fields {
    const type = extensionType(name) ?? "application/octet-stream";
    const fields = Fields.from([
      ["date", formatHttpDate(this.#clock.now())],
      ["content-type", type],
      ["etag", validators.etag],
      ["last-modified", formatHttpDate(validators.lastModifiedMs)],
      ["accept-ranges", "bytes"],
    ]);
    if (/^(?:text\/html|application\/xhtml\+xml)\b/.test(type)) fields.set("cache-control", REVALIDATE);
    else if (isFingerprinted(name)) fields.set("cache-control", IMMUTABLE);
    return fields;
  }

  /** A short answer of our own. */
  #plain(
    status: number,
    reason: string,
    head: boolean,
    startMs: number,
    more: readonly [string, string][] = [],
  ): UpstreamResponse {
    return ownAnswer({ status, reason, head, fields: more, startMs, endMs: this.#clock.now() });
  }
}

/** Whether a real path lies below the real path of the root, and on the way nothing hidden. */
function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== "" && !way.startsWith(sep) && areVisible(way.split(sep));
}

/** A failed look-up as an answer; throws an UpstreamError for what is no matter of the name. */
function refusalOf(error: unknown): Found {
  if (error instanceof UpstreamError) throw error;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
    case "ENAMETOOLONG":
    case "ELOOP":
    case "EINVAL":
    case "ENXIO":
      return { kind: "absent" };
    case "EACCES":
    case "EPERM":
      return { kind: "forbidden" };
    default:
      throw new UpstreamError("proxy_internal_error", `the file can not be opened: ${messageOf(error)}`, {
        cause: error,
      });
  }
}

/**
 * A folder's address with its slash, relative to the address asked for: whatever prefix a rewrite took
 * away stays right, and with `./` in front no name can be read as a host or a scheme.
 */
function withSlash(name: FileName & { kind: "name" }): string {
  const last = encodeURIComponent(name.segments.at(-1) ?? "");
  const query = /^[!-~]*$/.test(name.query) ? name.query : "";
  return `./${last}/${query}`;
}

/** Strong: another content has another inode, size or modification time in nanoseconds. */
function validatorsOf(version: FileVersion, nowMs: number): { etag: string; lastModifiedMs: number } {
  const etag = `"${[version.inode, version.size, version.modifiedNs].map((part) => part.toString(36)).join("-")}"`;
  // Last-Modified is never later than Date (RFC 9110 section 8.8.2.1), and has whole seconds.
  const modifiedMs = Math.min(Number(version.modifiedNs / 1_000_000n), nowMs);
  return { etag, lastModifiedMs: Math.floor(modifiedMs / 1000) * 1000 };
}

/** The bytes to send, end excluded: one range if one is asked for, else all of them. */
function spanOf(
  fields: Fields,
  validators: { readonly etag: string; readonly lastModifiedMs: number },
  size: number,
  nowMs: number,
): { start: number; end: number; partial: boolean } | "unsatisfiable" {
  const whole = { start: 0, end: size, partial: false };
  if (!ifRangeMatches(fields.get("if-range"), { ...validators, dateMs: nowMs })) return whole;
  const asked = parseRange(fields.get("range"), size);
  switch (asked.kind) {
    case "none":
      return whole;
    case "unsatisfiable":
      return "unsatisfiable";
    case "ranges": {
      const [only, ...others] = asked.ranges;
      // Several ranges: the whole is a valid answer (RFC 9110 section 14.2) and can be cached.
      if (only === undefined || others.length > 0) return whole;
      return { start: only.start, end: only.end + 1, partial: true };
    }
  }
}
