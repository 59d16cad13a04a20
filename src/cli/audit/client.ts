/** Requests of an audit: bounded in time and bytes, without redirects, bodies as sent. The origin is asked as a shared cache would ask it. */
import { messageOf, ProximaError } from "../../base/errors.ts";
import { codingOf, decodeBytes } from "../../optimize/codings.ts";
import { VERSION } from "../version.ts";

/** Longest body that is read, as sent, in bytes: enough to tell copies apart, and to find links. */
export const BODY_BYTES_MAX = 8 * 1_024 * 1_024;
const EXPANDED_BYTES_MAX = 32 * 1_024 * 1_024;

/** How the origin is asked. */
export interface AuditClientOptions {
  /** PEM of the CAs that certificates are checked against, instead of the system's; null: the system's. */
  readonly ca: string | null;
  /** Fields of every request. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** A request may take so long, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends everything. */
  readonly signal: AbortSignal;
}

/** An answer, read to its end or to the limit. */
export interface AuditAnswer {
  readonly status: number;
  readonly fields: Headers;
  /** SHA-256 of the body, expanded; null when it was cut or can not be expanded. */
  readonly hash: string | null;
  /** Bytes as sent, as far as they were read. */
  readonly bytes: number;
  /** The body as text, for types that are text; null for others, or when it was cut. */
  readonly text: string | null;
  readonly isCut: boolean;
}

/** A request that got no whole answer; the message is a sentence about it. */
export class AuditRequestError extends ProximaError<"audit_request"> {
  constructor(message: string, cause?: unknown) {
    super("audit_request", message, { source: "origin", cause });
    this.name = "AuditRequestError";
  }
}

/** Asks the origin. */
export class AuditClient {
  readonly #options: AuditClientOptions;

  constructor(options: AuditClientOptions) {
    this.#options = options;
  }

  /** Sends a GET. `without`: lower-case names of the options' fields that are left out. Rejects with an AuditRequestError. */
  async get(
    url: URL,
    fields: Readonly<Record<string, string>> = {},
    without: ReadonlySet<string> = new Set(),
  ): Promise<AuditAnswer> {
    const { ca, timeoutMs, signal } = this.#options;
    const headers = new Headers({
      accept: "*/*",
      "accept-encoding": "gzip, br, zstd",
      "user-agent": `proxima-audit/${VERSION}`,
    });
    for (const [name, value] of this.#options.fields)
      if (!without.has(name.toLowerCase())) headers.set(name, value);
    for (const [name, value] of Object.entries(fields)) headers.set(name, value);
    const late = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(url, {
        redirect: "manual",
        decompress: false,
        headers,
        signal: AbortSignal.any([late, signal]),
        ...(ca === null ? {} : { tls: { ca } }),
      });
      return await answerOf(response);
    } catch (error) {
      if (error instanceof AuditRequestError) throw error;
      throw new AuditRequestError(
        signal.aborted
          ? "was stopped"
          : late.aborted
            ? `no whole answer within ${timeoutMs / 1_000} s`
            : reasonOf(error),
        error,
      );
    }
  }
}

async function answerOf(response: Response): Promise<AuditAnswer> {
  const { status, headers } = response;
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  let isCut = false;
  // A stream of events has no end.
  const isEndless = headers.get("content-type")?.toLowerCase().startsWith("text/event-stream") === true;
  if (isEndless) await response.body?.cancel();
  else {
    for await (const piece of response.body ?? []) {
      bytes += piece.byteLength;
      pieces.push(piece);
      // Leaving the loop ends the request.
      if (bytes > BODY_BYTES_MAX) break;
    }
    isCut = bytes > BODY_BYTES_MAX;
  }
  const body =
    isCut || isEndless ? null : await expanded(Buffer.concat(pieces), headers.get("content-encoding"));
  return {
    status,
    fields: headers,
    hash: body === null ? null : new Bun.CryptoHasher("sha256").update(body).digest("hex"),
    bytes,
    text: body === null || !isText(headers.get("content-type")) ? null : new TextDecoder().decode(body),
    isCut: isCut || isEndless,
  };
}

async function expanded(bytes: Uint8Array, contentEncoding: string | null): Promise<Uint8Array | null> {
  const coding = codingOf(contentEncoding);
  if (coding === null) return null;
  if (coding === "identity" || bytes.byteLength === 0) return bytes;
  return await decodeBytes(bytes, coding, EXPANDED_BYTES_MAX).catch(() => null);
}

function isText(contentType: string | null): boolean {
  return /^(?:text\/|application\/(?:[\w.+-]*\+)?(?:json|xml|javascript))/i.test(contentType ?? "");
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (/ECONNREFUSED|ConnectionRefused/.test(code)) return "nothing listens there";
  if (/CERT|SIGNATURE|SIGNED|ISSUER/.test(code))
    return `its certificate can not be trusted (${code}); see --cacert`;
  if (/ECONNRESET|ConnectionClosed/.test(code)) return "the connection was closed before the answer ended";
  return messageOf(error).replace(/\. For more information, pass.*$/s, "");
}
