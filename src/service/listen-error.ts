/** What the system says when an address can not be listened on, as one sentence for a person. */
import { messageOf, ProximaError } from "../base/errors.ts";

/** Codes of errors of listening. */
export type ListenErrorCode =
  | "address_in_use"
  | "address_forbidden"
  | "address_not_available"
  | "listen_failed";

/** An address as people write it; an empty host name means every address of the machine. */
export function formatAddress(address: { readonly hostname: string; readonly port: number }): string {
  const { hostname, port } = address;
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** The error for an address that could not be listened on. `what` names the listener, `option` how to change it. */
export function listenError(
  what: string,
  option: string,
  address: { readonly hostname: string; readonly port: number },
  cause: unknown,
): ProximaError<ListenErrorCode> {
  const shown = formatAddress(address);
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  const make = (named: ListenErrorCode, why: string) =>
    new ProximaError<ListenErrorCode>(named, `${what} address ${shown} ${why}`, { source: "node", cause });
  switch (code) {
    case "EADDRINUSE":
      return make("address_in_use", `is already in use; choose another with ${option}`);
    case "EACCES":
    case "EPERM":
      return make(
        "address_forbidden",
        `may not be used by this user; choose a port above 1023 with ${option}`,
      );
    case "EADDRNOTAVAIL":
    case "EINVAL":
      return make(
        "address_not_available",
        `is not an address of this machine; choose another with ${option}`,
      );
    default:
      return make("listen_failed", `can not be listened on: ${messageOf(cause)}`);
  }
}
