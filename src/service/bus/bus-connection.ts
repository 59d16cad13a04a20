/** A connection to the NATS servers of a fleet, and what both of its ends do there. */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import type { DirectStreamAPI, JetStreamManager } from "@nats-io/jetstream";
import type { Authenticator, NatsConnection } from "@nats-io/transport-node";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { type Pieces, sha256 } from "./bus-entry.ts";
import {
  CONNECT_MS_MAX,
  MESSAGE_BYTES_MAX,
  PIECES_MAX,
  PING_MS,
  RECONNECT_MS,
  REQUEST_MS_MAX,
  WHOLE_BYTES_MAX,
} from "./bus-limits.ts";

/** How the servers are reached. */
export interface BusAccess {
  /** URLs: nats://host:port, tls://host:port. */
  readonly servers: readonly string[];
  /** Name of the fleet on the bus. */
  readonly name: string;
  /** Content of a credentials file. */
  readonly credentials: string | null;
  readonly token: string | null;
  readonly user: { readonly name: string; readonly password: string } | null;
  /** Authorities (PEM) to trust; null for the well-known ones. */
  readonly ca: string | null;
}

/** An open connection. */
export interface BusConnection {
  readonly nats: NatsConnection;
  readonly manager: JetStreamManager;
  readonly direct: DirectStreamAPI;
}

/** Requests for pieces that are under way at the same time. */
const PIECES_AT_ONCE = 8;

/** Connects; later breaks are mended by the client. Rejects with a ProximaError "control_unreachable". */
export async function connectBus(access: BusAccess, name: string): Promise<BusConnection> {
  const { servers, ca } = access;
  try {
    // Loaded here: most nodes have no bus, and the client is not small.
    const [client, { jetstreamManager }] = await Promise.all([
      import("@nats-io/transport-node"),
      import("@nats-io/jetstream"),
    ]);
    const authenticators = authenticatorsOf(access, client);
    const nats = await client.connect({
      servers: servers.map((url) => url.replace(/^[a-z]+:\/\//i, "")),
      name,
      ...(authenticators.length === 0 ? {} : { authenticator: authenticators }),
      // One server that speaks TLS only makes all connections do so; none falls back.
      ...(ca !== null || servers.some((url) => /^tls:/i.test(url)) ? { tls: ca === null ? {} : { ca } } : {}),
      timeout: CONNECT_MS_MAX,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_MS,
      pingInterval: PING_MS,
      maxPingOut: 2,
      // Credentials may be changed while it runs.
      ignoreAuthErrorAbort: true,
    });
    try {
      const manager = await jetstreamManager(nats, { timeout: REQUEST_MS_MAX, checkAPI: false });
      return { nats, manager, direct: manager.direct };
    } catch (error) {
      await nats.close();
      throw error;
    }
  } catch (cause) {
    throw busUnreachable(access, messageOf(cause), cause);
  }
}

/** The error of a bus that can not be used just now. */
export function busUnreachable({ servers }: BusAccess, why: string, cause?: unknown): ProximaError {
  return new ProximaError(
    "control_unreachable",
    `the bus at ${servers.join(", ")} can not be reached: ${why}`,
    { source: "node", retryable: true, cause },
  );
}

/** A body in pieces, compressed, and what names it. Null when it is larger than the limits. */
export async function cut(
  text: string,
): Promise<{ readonly pieces: Pieces; readonly parts: readonly Uint8Array[] } | null> {
  const bytes = Buffer.from(text);
  if (bytes.byteLength > WHOLE_BYTES_MAX) return null;
  const packed = await promisify(gzip)(bytes);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < packed.byteLength; at += MESSAGE_BYTES_MAX)
    parts.push(packed.subarray(at, at + MESSAGE_BYTES_MAX));
  if (parts.length > PIECES_MAX) return null;
  return { pieces: { count: parts.length, bytes: bytes.byteLength, sha256: sha256(bytes) }, parts };
}

/** Puts a body together again; null when a piece is missing or it is not what was signed. */
export async function join(
  pieces: Pieces,
  get: (piece: number) => Promise<Uint8Array | null>,
): Promise<string | null> {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < pieces.count; at += PIECES_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(PIECES_AT_ONCE, pieces.count - at) }, (_, i) => at + i);
    for (const part of await Promise.all(numbers.map(get))) {
      if (part === null) return null;
      parts.push(part);
    }
  }
  try {
    const unpack = promisify<Buffer, { maxOutputLength: number }, Buffer>(gunzip);
    const bytes = await unpack(Buffer.concat(parts), { maxOutputLength: Math.max(1, pieces.bytes) });
    return sha256(bytes) === pieces.sha256 ? bytes.toString("utf8") : null;
  } catch {
    return null;
  }
}

function authenticatorsOf(
  { credentials, token, user }: BusAccess,
  client: typeof import("@nats-io/transport-node"),
): Authenticator[] {
  const list: Authenticator[] = [];
  if (credentials !== null) list.push(client.credsAuthenticator(Buffer.from(credentials)));
  if (token !== null) list.push(client.tokenAuthenticator(token));
  if (user !== null) list.push(client.usernamePasswordAuthenticator(user.name, user.password));
  return list;
}
