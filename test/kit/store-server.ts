/**
 * What the object stores of tests have in common: requests exactly as they were received, objects with
 * conditions and ranges, and errors in XML. Who may ask, and how that is proved, is each store's own.
 */
import { formatHttpDate } from "../../src/http/date.ts";
import { type RawConnection, type RawOrigin, startRawOrigin } from "./raw-origin.ts";

/** An object in a store. */
export interface StoredObject {
  readonly bytes: Uint8Array;
  /** Fields that it carries; ETag and Last-Modified among them. */
  readonly fields: Readonly<Record<string, string>>;
}

/** A request, nothing of it decoded or put in another form. */
export interface RawRequest {
  readonly method: string;
  readonly target: string;
  readonly path: string;
  /** Without the `?`; null without one. */
  readonly query: string | null;
  /** Names in lower case, in order. */
  readonly lines: readonly (readonly [name: string, value: string])[];
  get(name: string): string | null;
}

/** What a store answers. */
export interface StoreAnswer {
  readonly status: number;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A store that runs. */
export interface StoreServer {
  readonly url: string;
  readonly port: number;
  /** Every request, in order. */
  readonly seen: RawRequest[];
  stop(): void;
}

/** Starts a store on a free port of the loopback. */
export function startStore(answer: (request: RawRequest) => StoreAnswer, dateMs: () => number): StoreServer {
  const seen: RawRequest[] = [];
  const server: RawOrigin = startRawOrigin(async (connection: RawConnection) => {
    for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
      const request = parseHead(head);
      seen.push(request);
      const length = Number(request.get("content-length") ?? 0);
      if (length > 0) await connection.readBytes(length);
      const { status, fields, body } = answer(request);
      const lines = Object.entries({
        date: formatHttpDate(dateMs()),
        ...(status === 304 ? {} : { "content-length": String(body.byteLength) }),
        ...fields,
      }).map(([name, value]) => `${name}: ${value}\r\n`);
      await connection.write(`HTTP/1.1 ${status} x\r\n${lines.join("")}\r\n`);
      if (request.method !== "HEAD" && status !== 304) await connection.write(body);
    }
  });
  return { url: server.url, port: server.port, seen, stop: () => server.stop() };
}

function parseHead(head: string): RawRequest {
  const [first = "", ...rest] = head.split("\r\n");
  const [method = "", target = ""] = first.split(" ");
  const at = target.indexOf("?");
  const lines = rest.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1)] as const;
  });
  return {
    method,
    target,
    path: at < 0 ? target : target.slice(0, at),
    query: at < 0 ? null : target.slice(at + 1),
    lines,
    get: (name) => lines.find(([one]) => one === name)?.[1].trim() ?? null,
  };
}

/** An object with the fields that every store gives it. */
export function storedObject(
  body: string | Uint8Array,
  fields: Record<string, string> = {},
  lastModifiedMs = Date.UTC(2025, 5, 1),
): StoredObject {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const etag = `"${new Bun.CryptoHasher("md5").update(bytes).digest("hex")}"`;
  return {
    bytes,
    fields: {
      etag,
      "last-modified": formatHttpDate(lastModifiedMs),
      "content-type": "text/plain",
      ...fields,
    },
  };
}

/** What a store answers to GET or HEAD of an object. */
export function answerObject(
  request: RawRequest,
  object: StoredObject,
  store: {
    readonly suffixRanges: boolean;
    /** Takes a range of the last bytes for one of the first, as some stores do. */
    readonly misreadsSuffixes?: boolean;
    readonly error: (status: number, code: string, more?: string) => StoreAnswer;
    readonly fields: Readonly<Record<string, string>>;
  },
): StoreAnswer {
  const { bytes } = object;
  const fields: Record<string, string> = { ...store.fields, ...object.fields, "accept-ranges": "bytes" };
  const etag = fields.etag ?? "";
  const modified = Date.parse(fields["last-modified"] ?? "");
  const match = request.get("if-match");
  const noneMatch = request.get("if-none-match");
  // A store compares one tag, letter by letter: no lists, no weak ones.
  if (match !== null && match !== "*" && match !== etag) return store.error(412, "PreconditionFailed");
  const unmodified = request.get("if-unmodified-since");
  if (unmodified !== null && modified > Date.parse(unmodified)) return store.error(412, "PreconditionFailed");
  const since = request.get("if-modified-since");
  if (noneMatch === etag || noneMatch === "*" || (since !== null && modified <= Date.parse(since))) {
    return { status: 304, fields, body: new Uint8Array(0) };
  }
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.get("range") ?? "");
  if (range === null || request.method === "HEAD") return { status: 200, fields, body: bytes };
  const [, begin = "", last = ""] = range;
  const first = begin === "" && store.misreadsSuffixes === true ? "0" : begin;
  if (first === "" && !store.suffixRanges) return { status: 200, fields, body: bytes };
  const start = first === "" ? Math.max(0, bytes.length - Number(last)) : Number(first);
  const end = first === "" || last === "" ? bytes.length : Math.min(bytes.length, Number(last) + 1);
  if (start >= bytes.length) {
    return store.error(416, "InvalidRange", `<ActualObjectSize>${bytes.length}</ActualObjectSize>`);
  }
  fields["content-range"] = `bytes ${start}-${end - 1}/${bytes.length}`;
  return { status: 206, fields, body: bytes.subarray(start, end) };
}

/** An error as all these stores write it. */
export function xmlError(
  status: number,
  code: string,
  more: string,
  fields: Readonly<Record<string, string>>,
): StoreAnswer {
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>the store says ${code} &amp; no more</Message>${more}</Error>`;
  return {
    status,
    fields: { "content-type": "application/xml", ...fields },
    body: new TextEncoder().encode(text),
  };
}

/** HMAC-SHA256 by the runtime's own hasher: nothing here is shared with what is tested. */
export function hmac(key: string | Uint8Array, text: string): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher("sha256", key).update(text).digest());
}

/** Percent-encoding of every byte but unreserved characters. */
export function percentEncode(text: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(text)) {
    const character = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9\-._~]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
