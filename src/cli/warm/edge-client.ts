/**
 * Requests to the operator's own edge: whatever host a URL names, its Host and server name go to the
 * edge's address, so that nothing but the edge is ever asked.
 */
import { isIP } from "node:net";
import { parseList } from "structured-headers";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { ListenAddress } from "../../config/address.ts";
import { formatAddress } from "../../service/listen-error.ts";
import { VERSION } from "../version.ts";

/** An answer may take so long as a whole, in milliseconds, however steadily its bytes come. */
const ANSWER_MS_MAX = 60 * 60 * 1_000;
/** Longer fields of status are not read. */
const FIELD_CHARS_MAX = 8_192;
const REASON_CHARS_MAX = 60;

/** Where the edge listens and how it is asked. */
export interface EdgeClientOptions {
  readonly http: ListenAddress;
  readonly https: ListenAddress;
  /** PEM of the CAs that the edge's certificate is checked against; null: it is not checked. */
  readonly ca: string | null;
  /** Fields of every request, besides its own. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** A request is given up after so long without a byte, in milliseconds. */
  readonly timeoutMs: number;
}

/** An answer whose fields have arrived. */
export interface EdgeAnswer {
  readonly status: number;
  readonly fields: Headers;
  /** X-Cache in lower case; null when there is none. */
  readonly result: string | null;
  /** `detail` of the edge's own member of Cache-Status (RFC 9211 section 2.8); null when there is none. */
  readonly reason: string | null;
  /** The body as sent; to be read to its end, or returned. Rejects with an EdgeError. */
  readonly body: AsyncGenerator<Uint8Array>;
}

/** A request that got no whole answer. `refused`: nothing listens; `stopped`: the command was ended. */
export class EdgeError extends ProximaError<"refused" | "stopped" | "failed"> {
  constructor(code: "refused" | "stopped" | "failed", message: string, cause?: unknown) {
    super(code, message, { source: "node", cause });
    this.name = "EdgeError";
  }
}

/** Asks the edge. */
export class EdgeClient {
  readonly #options: EdgeClientOptions;

  constructor(options: EdgeClientOptions) {
    this.#options = options;
  }

  /** Sends a GET; `fields` win over those of every request. Rejects with an EdgeError. */
  async get(
    url: URL,
    signal: AbortSignal,
    fields: Readonly<Record<string, string>> = {},
  ): Promise<EdgeAnswer> {
    const watch = new Watch(this.#options.timeoutMs, signal);
    try {
      const response = await this.#send(url, watch.signal, fields);
      watch.touch();
      return {
        status: response.status,
        fields: response.headers,
        result: response.headers.get("x-cache")?.toLowerCase() ?? null,
        reason: reasonOf(response.headers.get("cache-status")),
        body: this.#read(url, response, watch),
      };
    } catch (error) {
      watch.end();
      throw this.#failure(url, error, watch);
    }
  }

  #send(url: URL, signal: AbortSignal, fields: Readonly<Record<string, string>>): Promise<Response> {
    const { ca } = this.#options;
    const headers = new Headers({
      accept: "*/*",
      // What browsers send: the codings that the edge keeps for them are the ones to fill.
      "accept-encoding": "gzip, deflate, br, zstd",
      "user-agent": `proxima-warm/${VERSION}`,
    });
    // Fields of one name that were given twice are joined; either way they replace the defaults.
    for (const [name] of this.#options.fields) headers.delete(name);
    for (const [name, value] of this.#options.fields) headers.append(name, value);
    for (const [name, value] of Object.entries(fields)) headers.set(name, value);
    headers.set("host", url.host);
    const named =
      url.hostname.startsWith("[") || isIP(url.hostname) !== 0 ? {} : { serverName: url.hostname };
    const tls =
      url.protocol === "https:"
        ? { tls: { ...named, rejectUnauthorized: ca !== null, ...(ca === null ? {} : { ca }) } }
        : {};
    return fetch(`${url.protocol}//${this.address(url)}${url.pathname}${url.search}`, {
      redirect: "manual",
      decompress: false,
      proxy: false,
      signal,
      headers,
      ...tls,
    });
  }

  /** Where a URL is asked for. */
  address(url: URL): string {
    const { hostname, port } = url.protocol === "https:" ? this.#options.https : this.#options.http;
    const everywhere = hostname === "" || hostname === "0.0.0.0";
    return formatAddress({ hostname: everywhere ? "127.0.0.1" : hostname === "::" ? "::1" : hostname, port });
  }

  async *#read(url: URL, response: Response, watch: Watch): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of response.body ?? []) {
        watch.touch();
        yield piece;
      }
    } catch (error) {
      throw this.#failure(url, error, watch);
    } finally {
      watch.end();
    }
  }

  #failure(url: URL, error: unknown, watch: Watch): EdgeError {
    const seconds = this.#options.timeoutMs / 1_000;
    switch (watch.ended) {
      case "stopped":
        return new EdgeError("stopped", "was stopped", error);
      case "silent":
        return new EdgeError("failed", `no byte for ${seconds} s`, error);
      case "too-long":
        return new EdgeError(
          "failed",
          `the answer did not end within ${ANSWER_MS_MAX / 60_000} minutes`,
          error,
        );
      case null:
    }
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (/ECONNREFUSED|ConnectionRefused/.test(code)) {
      return new EdgeError("refused", `nothing listens at ${this.address(url)}`, error);
    }
    if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
      return new EdgeError("failed", `the edge's certificate is not for ${url.hostname}`, error);
    }
    if (/CERT|SIGNATURE|SIGNED|ISSUER/.test(code)) {
      return new EdgeError(
        "failed",
        `the edge's certificate is not signed by a CA of --cacert (${code})`,
        error,
      );
    }
    if (code === "ECONNRESET" || code === "ConnectionClosed") {
      return new EdgeError("failed", "the edge closed the connection before the answer ended", error);
    }
    return new EdgeError("failed", messageOf(error).replace(/\. For more information, pass.*$/s, ""), error);
  }
}

/** The deadlines of one request, and the command's own end. */
class Watch {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #silence: ReturnType<typeof setTimeout>;
  readonly #whole: ReturnType<typeof setTimeout>;
  readonly #stop = () => this.#abort("stopped");
  ended: "silent" | "too-long" | "stopped" | null = null;

  constructor(silenceMs: number, parent: AbortSignal) {
    this.#parent = parent;
    this.#silence = setTimeout(() => this.#abort("silent"), silenceMs);
    this.#whole = setTimeout(() => this.#abort("too-long"), ANSWER_MS_MAX);
    parent.addEventListener("abort", this.#stop);
    if (parent.aborted) this.#stop();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something arrived. */
  touch(): void {
    this.#silence.refresh();
  }

  end(): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#whole);
    this.#parent.removeEventListener("abort", this.#stop);
  }

  #abort(why: NonNullable<Watch["ended"]>): void {
    this.ended ??= why;
    this.#controller.abort();
  }
}

/** The edge is the cache closest to us: the last member (RFC 9211 section 2). */
function reasonOf(field: string | null): string | null {
  if (field === null || field.length > FIELD_CHARS_MAX) return null;
  try {
    const detail = parseList(field).at(-1)?.[1].get("detail");
    return detail === undefined ? null : String(detail).slice(0, REASON_CHARS_MAX);
  } catch {
    return null;
  }
}
