/**
 * Where to listen. The runtime's reusePort would share a port with another process silently, so every
 * TCP and UDP port is first bound alone and let go; only then is it bound for good. Port 0 picks one
 * number that is free for both transports. Every failure is one sentence.
 */
import { ProximaError } from "../../base/errors.ts";

/** A host name or address, and a port; 0 asks for a free one. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

/** Why a port can not be listened on. */
export type ListenErrorCode =
  | "port_in_use"
  | "listen_denied"
  | "listen_address_unavailable"
  | "listen_failed";

/** How often a port picked for TCP may turn out to be taken for UDP. */
const pickAttemptsMax = 20;

/** Finds the port to bind, free for TCP and, when asked, for UDP. Rejects with a ProximaError<ListenErrorCode>. */
export async function freePort(address: ListenAddress, udp: boolean): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    const port = probeTcp(address);
    if (!udp) return port;
    try {
      await probeUdp({ hostname: address.hostname, port });
      return port;
    } catch (error) {
      if (address.port !== 0 || attempt >= pickAttemptsMax) throw error;
    }
  }
}

/** Binds the TCP port alone and lets it go; returns its number. Throws a ProximaError<ListenErrorCode>. */
export function probeTcp(address: ListenAddress): number {
  try {
    const listener = Bun.listen({ ...address, socket: { data() {} } });
    const { port } = listener;
    listener.stop(true);
    return port;
  } catch (error) {
    throw listenError(error, address, "tcp");
  }
}

/** Binds the UDP port alone and lets it go. Rejects with a ProximaError<ListenErrorCode>. */
export async function probeUdp(address: ListenAddress): Promise<void> {
  try {
    const socket = await Bun.udpSocket({ ...address, socket: {} });
    socket.close();
  } catch (error) {
    throw listenError(error, address, "udp");
  }
}

/** One clear sentence for a failed bind. */
export function listenError(
  error: unknown,
  address: ListenAddress,
  transport: "tcp" | "udp",
): ProximaError<ListenErrorCode> {
  if (error instanceof ProximaError) return error;
  const { hostname, port } = address;
  const where = `${transport === "udp" ? "UDP port" : "port"} ${port} on ${hostname}`;
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return failure(
        "port_in_use",
        `${where} is already in use: another program, or another Proxima, listens there; choose another port or end it`,
        error,
      );
    case "EACCES":
    case "EPERM":
      return failure(
        "listen_denied",
        `no permission to listen on ${where}: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE`,
        error,
      );
    case "EADDRNOTAVAIL":
    case "EINVAL":
    case "ENOENT":
      return failure(
        "listen_address_unavailable",
        `cannot listen on ${where}: "${hostname}" is not an address of this machine; use 127.0.0.1, 0.0.0.0, :: or one of its own`,
        error,
      );
    default:
      return failure(
        "listen_failed",
        `cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}`,
        error,
      );
  }
}

function failure(code: ListenErrorCode, message: string, cause: unknown): ProximaError<ListenErrorCode> {
  return new ProximaError(code, message, { source: "node", cause });
}

/** The system's code; the runtime leaves it out for a name it can not resolve and when HTTP/3 can not bind. */
function codeOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error.message.startsWith("Failed to listen on UDP port")) return "EADDRINUSE";
  return error.message.startsWith("Failed to listen at") ? "ENOENT" : null;
}
