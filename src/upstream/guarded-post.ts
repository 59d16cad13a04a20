/**
 * A POST of JSON to a URL that somebody else has named: the address is checked when it is connected to, no
 * redirect is followed, no cookie or credential goes along, and nobody reads what is answered.
 */
import type { Clock } from "../base/clock.ts";
import type { BodyReader } from "../http/body.ts";
import { Fields } from "../http/fields.ts";
import { UpstreamError } from "./next-hop.ts";
import { HttpOrigin } from "./origin.ts";

const CONNECT_MS_MAX = 5_000;
const ANSWER_MS_MAX = 10_000;

/** What came back. */
export interface PostAnswer {
  readonly status: number;
  /** The Retry-After field (RFC 9110 section 10.2.3); null when there is none. */
  readonly retryAfter: string | null;
}

/** Sends one. Rejects with an UpstreamError; its message holds the host alone, for the rest may be a secret. */
export async function guardedPost(
  url: URL,
  body: string,
  fields: Readonly<Record<string, string>>,
  { clock, allowAddress, ca }: GuardedPostOptions,
): Promise<PostAnswer> {
  const origin = new HttpOrigin({
    name: url.hostname,
    url: url.origin,
    clock,
    keepAliveMs: 1,
    connectionsMax: 1,
    allowAddress,
    ...(ca === undefined ? {} : { tls: { ca } }),
  });
  const bytes = new TextEncoder().encode(body);
  try {
    const response = await origin.fetch(
      {
        method: "POST",
        scheme: url.protocol === "https:" ? "https" : "http",
        authority: url.host,
        target: `${url.pathname}${url.search}`,
        fields: Fields.from(Object.entries({ ...fields, "content-type": "application/json" })),
        body: onePiece(bytes),
        bodyLength: bytes.byteLength,
        signal: AbortSignal.timeout(CONNECT_MS_MAX + ANSWER_MS_MAX),
      },
      { connectMs: CONNECT_MS_MAX, firstByteMs: ANSWER_MS_MAX, betweenBytesMs: ANSWER_MS_MAX },
    );
    response.body?.cancel();
    return { status: response.status, retryAfter: response.fields.get("retry-after") };
  } catch (error) {
    if (!(error instanceof UpstreamError) || error.code !== "destination_ip_prohibited") throw error;
    // Whoever named the URL reads this: what the names of the network inside resolve to is not for him.
    throw new UpstreamError(error.code, `${url.hostname} has no address that this node may connect to`);
  } finally {
    origin.close();
  }
}

/** How it is sent. */
export interface GuardedPostOptions {
  readonly clock: Clock;
  readonly allowAddress: (address: string) => boolean;
  /** PEM of the authorities to trust in place of the well-known ones. */
  readonly ca?: string;
}

function onePiece(bytes: Uint8Array): BodyReader {
  let isSent = false;
  return {
    read() {
      const piece = isSent ? null : bytes;
      isSent = true;
      return Promise.resolve(piece);
    },
    cancel() {
      isSent = true;
    },
  };
}
