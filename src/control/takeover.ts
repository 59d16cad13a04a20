/**
 * Takeover: the vendors' APIs under the vendors' own host names, for clients that ask those and no others.
 * The machine's hosts file (or a container's network) leads the names here, and the certificate is of an
 * authority of our own. A listener of its own, so that no such name is ever good at the control plane's:
 * each name is one API's, and there is nothing of our own API behind it.
 */
import { messageOf } from "../base/errors.ts";
import { formatAddress, listenError } from "../service/listen-error.ts";
import type { NodeLog } from "../service/log.ts";
import { problem } from "../service/problem.ts";
import type { Api } from "./api/api.ts";
import type { Incoming } from "./api/door.ts";
import type { Vendor } from "./vendors/vendor.ts";
import { vendors } from "./vendors/vendors.ts";

/** How it is asked for. */
export interface TakeoverOptions {
  readonly address: { readonly hostname: string; readonly port: number };
  /** A certificate for names, of an authority that is kept in the data directory; both PEM. */
  readonly certificate: (
    directory: string,
    names: readonly string[],
  ) => Promise<{ readonly cert: string; readonly key: string; readonly caFile: string }>;
}

/** It, running. */
export interface Takeover {
  /** Host and port really bound. */
  readonly address: string;
  /** The authority's certificate, which clients have to trust. */
  readonly caFile: string;
  stop(closeActive: boolean): Promise<void>;
}

const IDLE_SECONDS_MAX = 90;

/** Host names that are taken over; some stand for all beneath them. */
export const takeoverHosts: readonly string[] = vendors.flatMap(({ hosts }) => hosts);

/** Starts it. Rejects with a ProximaError. */
export async function startTakeover(
  { address, certificate }: TakeoverOptions,
  directory: string,
  api: Api,
  log: NodeLog,
): Promise<Takeover> {
  const { cert, key, caFile } = await certificate(directory, takeoverHosts);
  const answer = async (incoming: Incoming): Promise<Response> => {
    const { headers } = incoming.request;
    const vendor = vendorOfHost(headers.get("host") ?? "");
    if (vendor === null)
      return api.refuse(incoming, 421, "the Host field names none of the hosts that are taken over");
    // No page calls these APIs: a request that a page makes here is an attack.
    const site = headers.get("sec-fetch-site");
    if (headers.has("origin") || (site !== null && site !== "none"))
      return api.refuse(incoming, 403, "the request comes from a page");
    return await api.vendors.answer(vendor, incoming);
  };
  try {
    const server = Bun.serve({
      hostname: address.hostname,
      port: address.port,
      reusePort: false,
      tls: { cert, key },
      maxRequestBodySize: Math.max(...vendors.map(({ bodyBytesMax }) => bodyBytesMax)) + 1024 * 1024,
      idleTimeout: IDLE_SECONDS_MAX,
      async fetch(request, bunServer) {
        const response = await answer({ request, address: bunServer.requestIP(request)?.address ?? "" });
        response.headers.set("cache-control", "no-store");
        return response;
      },
      error(error) {
        log("error", `takeover: ${messageOf(error)}`);
        return problem(500, "Internal Server Error", "the control plane failed to answer; its log says why");
      },
    });
    return {
      address: formatAddress({ hostname: address.hostname, port: server.port ?? address.port }),
      caFile,
      stop: (closeActive) => server.stop(closeActive),
    };
  } catch (cause) {
    throw listenError("takeover", "--takeover", address, cause);
  }
}

/** The API behind a name; null for a name that is none's. */
export function vendorOfHost(authority: string): Vendor | null {
  const host = /^([a-z0-9.-]{1,253})(?::\d{1,5})?$/i.exec(authority)?.[1]?.toLowerCase();
  if (host === undefined) return null;
  return (
    vendors.find(({ hosts }) =>
      hosts.some((one) => one === host || (one.startsWith("*.") && isBeneath(host, one.slice(1)))),
    ) ?? null
  );
}

/** One label more than the suffix, as certificates have it. */
function isBeneath(host: string, suffix: string): boolean {
  return host.endsWith(suffix) && host.length > suffix.length && !host.slice(0, -suffix.length).includes(".");
}
