/**
 * Takeover: the vendors' APIs under the vendors' own host names, for clients that ask those and no others.
 * The machine's hosts file (or a container's network) leads the names here, and the certificate is of an
 * authority of our own. A listener of its own, so that no such name is ever good at the control plane's:
 * each name is one API's, and there is nothing of our own API behind it.
 */
import type { BodyReader } from "../http/body.ts";
import { Fields } from "../http/fields.ts";
import type { StorageRequest, StorageResponse } from "../storage/message.ts";
import type { Api } from "./api/api.ts";
import type { StorageListener } from "./control-plane.ts";
import type { Vendor } from "./vendors/vendor.ts";
import { vendors } from "./vendors/vendors.ts";

/** A certificate and its key, both PEM. */
interface TlsPair {
  readonly cert: string;
  readonly key: string;
}

/** How it is asked for. */
export interface TakeoverOptions {
  /** A certificate for names, of an authority that is kept in the data directory. */
  readonly certificate: (
    directory: string,
    names: readonly string[],
  ) => Promise<TlsPair & { readonly caFile: string }>;
  /** Listens with it. */
  readonly listen: (
    tls: TlsPair,
    answer: (request: StorageRequest) => Promise<StorageResponse>,
  ) => StorageListener;
}

/** It, running. */
export interface Takeover extends StorageListener {
  /** The authority's certificate, which clients have to trust. */
  readonly caFile: string;
}

/** Hosts of Bunny's storage, in all regions. */
const STORAGE_HOSTS: readonly string[] = [
  "storage.bunnycdn.com",
  ...["uk", "ny", "la", "sg", "se", "br", "jh", "syd"].map((region) => `${region}.storage.bunnycdn.com`),
];

/** Host names that are taken over; some stand for all beneath them. */
export const takeoverHosts: readonly string[] = [...vendors.flatMap(({ hosts }) => hosts), ...STORAGE_HOSTS];

/** What stands behind the names. */
export interface TakenOver {
  readonly api: Api;
  readonly storage: (request: StorageRequest) => Promise<StorageResponse>;
}

/** Starts it. Rejects with a ProximaError. */
export async function startTakeover(
  { certificate, listen }: TakeoverOptions,
  directory: string,
  behind: TakenOver,
): Promise<Takeover> {
  const { caFile, ...tls } = await certificate(directory, takeoverHosts);
  const listener = listen(tls, (request) => answer(request, behind));
  return { address: listener.address, caFile, stop: () => listener.stop() };
}

async function answer(request: StorageRequest, { api, storage }: TakenOver): Promise<StorageResponse> {
  const { fields, peerAddress: address } = request;
  const refuse = (status: number, why: string) =>
    asAnswer(api.refuse({ request: bareRequest(request), address }, status, why));
  // No page calls these APIs: a request that a page makes here is an attack.
  const site = fields.get("sec-fetch-site");
  if (fields.has("origin") || (site !== null && site !== "none"))
    return await refuse(403, "the request comes from a page");
  const host = hostOf(fields.get("host") ?? "");
  if (STORAGE_HOSTS.includes(host)) return await storage(request);
  const vendor = vendorOfHost(host);
  if (vendor === null) return await refuse(421, "the Host field names none of the hosts that are taken over");
  const asked = wholeRequest(request);
  if (asked === null) return await refuse(400, "the request has fields that none of these APIs takes");
  return await asAnswer(await api.vendors.answer(vendor, { request: asked, address }));
}

/** Its name, without the port; empty for what is none. */
function hostOf(authority: string): string {
  return /^([a-z0-9.-]{1,253})(?::\d{1,5})?$/i.exec(authority)?.[1]?.toLowerCase() ?? "";
}

/** The API behind a name; null for a name that is none's. */
function vendorOfHost(host: string): Vendor | null {
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

/** The listener's request as the runtime's, without its fields and its body. */
function bareRequest({ method, url }: StorageRequest): Request {
  return new Request(URL.parse(url.replace(/^http:/, "https:"))?.href ?? "https://invalid/", {
    // What the runtime has no name for, no API here knows.
    method: /^(?:DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT)$/.test(method) ? method : "OPTIONS",
  });
}

/** The same with them; the body is read when it is read there. Null when the runtime does not take the fields. */
function wholeRequest(request: StorageRequest): Request | null {
  const bare = bareRequest(request);
  const hasBody = bare.method !== "GET" && bare.method !== "HEAD";
  const body = hasBody ? request.body() : null;
  try {
    const headers = new Headers([...request.fields.entries()]);
    return new Request(bare, { headers, ...(body === null ? {} : { body: streamOf(body) }) });
  } catch {
    body?.cancel();
    return null;
  }
}

function streamOf(body: BodyReader): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const piece = await body.read();
        if (piece === null) controller.close();
        else controller.enqueue(piece);
      },
      cancel: () => body.cancel(),
    },
    { highWaterMark: 0 },
  );
}

async function asAnswer(response: Response): Promise<StorageResponse> {
  const fields = Fields.from([...response.headers, ["cache-control", "no-store"]]);
  return { status: response.status, fields, body: new Uint8Array(await response.arrayBuffer()) };
}
