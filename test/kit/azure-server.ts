/**
 * A Blob service that verifies Shared Key signatures and shared access signatures from the request as it
 * was received, after "Authorize with Shared Key" and "Create a service SAS" in the Azure Storage REST API.
 */
import {
  answerObject,
  hmac,
  type RawRequest,
  type StoreAnswer,
  type StoredObject,
  type StoreServer,
  startStore,
  xmlError,
} from "./store-server.ts";

/** A clock that differs more than this is refused, in milliseconds. */
const SKEW_MS_MAX = 15 * 60 * 1000;

/** The account that a test's container is in. */
export const AZURE_ACCOUNT = "testaccount1";
/** Its key: 64 bytes, as Azure makes them. */
export const AZURE_KEY = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 37 + 11) % 256)).toString(
  "base64",
);

/** How a container is set up; a test may change it while it runs. */
export interface AzureSetup {
  container: string;
  key: string;
  isPublic: boolean;
  failing: { readonly status: number; readonly code: string } | null;
  /** Stands before the account's containers in the path, as in the emulator. */
  basePath: string;
  readonly objects: Map<string, StoredObject>;
  nowMs: () => number;
}

/** A service with one container. */
export interface AzureServer extends StoreServer {
  readonly setup: AzureSetup;
}

/** Starts a service. */
export function startAzure(options: Partial<AzureSetup> = {}): AzureServer {
  const setup: AzureSetup = {
    container: "assets",
    key: AZURE_KEY,
    isPublic: false,
    failing: null,
    basePath: "",
    objects: new Map(),
    nowMs: () => Date.now(),
    ...options,
  };
  const server = startStore(
    (request) => answer(request, setup),
    () => setup.nowMs(),
  );
  return Object.assign(server, { setup });
}

/** A shared access signature for reading a container's blobs until `expiryMs`. */
export function makeSas(container: string, key: string, expiryMs: number): string {
  const parameters = {
    sp: "r",
    se: new Date(expiryMs).toISOString().replace(/\.\d+Z$/, "Z"),
    spr: "https,http",
    sv: "2022-11-02",
    sr: "c",
  };
  const signature = sasSignature(new Map(Object.entries(parameters)), container, key);
  const query = Object.entries({ ...parameters, sig: signature });
  return query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

/** String to sign of versions 2020-12-06 and later: sixteen lines, most of them empty. */
function sasSignature(parameters: ReadonlyMap<string, string>, container: string, key: string): string {
  const of = (name: string): string => parameters.get(name) ?? "";
  const lines = [
    of("sp"),
    of("st"),
    of("se"),
    `/blob/${AZURE_ACCOUNT}/${container}`,
    of("si"),
    of("sip"),
    of("spr"),
    of("sv"),
    of("sr"),
    "",
    of("ses"),
    of("rscc"),
    of("rscd"),
    of("rsce"),
    of("rscl"),
    of("rsct"),
  ];
  return Buffer.from(hmac(Buffer.from(key, "base64"), lines.join("\n"))).toString("base64");
}

function answer(request: RawRequest, setup: AzureSetup): StoreAnswer {
  const vendor = {
    "x-ms-request-id": "0f2b9f0e-401e-0001",
    "x-ms-version": request.get("x-ms-version") ?? "",
  };
  const error = (status: number, code: string, more = ""): StoreAnswer =>
    xmlError(status, code, more, { ...vendor, "x-ms-error-code": code });
  if (setup.failing !== null) return error(setup.failing.status, setup.failing.code);
  const parameters = queryOf(request);
  const [, container = "", ...names] = request.path.slice(setup.basePath.length).split("/");
  const refused = verify(request, parameters, setup, error);
  if (refused !== null) return refused;
  if (decodeURIComponent(container) !== setup.container) return error(404, "ContainerNotFound");
  if (parameters.has("comp") || parameters.has("restype")) {
    // The commands in a query: nothing a viewer sends may ever get here.
    return { status: 200, fields: vendor, body: new TextEncoder().encode("<EnumerationResults>") };
  }
  const object = setup.objects.get(decodeURIComponent(names.join("/")));
  if (object === undefined) return error(404, "BlobNotFound");
  return answerObject(request, object, {
    suffixRanges: false,
    error,
    fields: { ...vendor, "x-ms-blob-type": "BlockBlob", "x-ms-lease-status": "unlocked" },
  });
}

type Refuse = (status: number, code: string, more?: string) => StoreAnswer;

function verify(
  request: RawRequest,
  parameters: ReadonlyMap<string, string>,
  setup: AzureSetup,
  error: Refuse,
): StoreAnswer | null {
  const failed = (detail: string) =>
    error(403, "AuthenticationFailed", `<AuthenticationErrorDetail>${detail}</AuthenticationErrorDetail>`);
  if (parameters.has("sig")) {
    const [, container = ""] = request.path.slice(setup.basePath.length).split("/");
    if (sasSignature(parameters, decodeURIComponent(container), setup.key) !== parameters.get("sig"))
      return failed("Signature did not match. String to sign used was r");
    if (Date.parse(parameters.get("se") ?? "") < setup.nowMs())
      return failed("Signature not valid in the specified time frame");
    return null;
  }
  const header = request.get("authorization");
  if (header === null) return setup.isPublic ? null : error(401, "NoAuthenticationInformation");
  const [, account = "", signature = ""] = /^SharedKey ([a-z0-9]+):(.+)$/.exec(header) ?? [];
  const date = request.get("x-ms-date") ?? request.get("date") ?? "";
  if (Math.abs(Date.parse(date) - setup.nowMs()) > SKEW_MS_MAX)
    return failed(`Request date header too old: '${date}'`);
  if (!/^20\d\d-\d\d-\d\d$/.test(request.get("x-ms-version") ?? "")) return error(400, "InvalidHeaderValue");
  const toSign = [
    request.method,
    request.get("content-encoding") ?? "",
    request.get("content-language") ?? "",
    (request.get("content-length") ?? "").replace(/^0$/, ""),
    request.get("content-md5") ?? "",
    request.get("content-type") ?? "",
    request.get("x-ms-date") === null ? (request.get("date") ?? "") : "",
    request.get("if-modified-since") ?? "",
    request.get("if-match") ?? "",
    request.get("if-none-match") ?? "",
    request.get("if-unmodified-since") ?? "",
    request.get("range") ?? "",
    ...request.lines
      .filter(([name]) => name.startsWith("x-ms-"))
      .map(([name, value]) => `${name}:${value.trim()}`)
      .sort(),
    // The path as it was sent, encoded; in the emulator's form the account stands in it a second time.
    `/${account}${request.path}`,
    ...[...parameters].map(([name, value]) => `${name}:${value}`).sort(),
  ].join("\n");
  const expected = Buffer.from(hmac(Buffer.from(setup.key, "base64"), toSign)).toString("base64");
  return account === AZURE_ACCOUNT && expected === signature
    ? null
    : failed(`The MAC signature found in the HTTP request is not the same. Server used: '${toSign}'`);
}

function queryOf(request: RawRequest): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const pair of request.query?.split("&") ?? []) {
    const [name = "", ...value] = pair.split("=");
    parameters.set(decodeURIComponent(name).toLowerCase(), decodeURIComponent(value.join("=")));
  }
  return parameters;
}
