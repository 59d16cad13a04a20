/** Who signed a request of a vendor's client, by the access keys among the tokens. */
import { createHash } from "node:crypto";
import type { SigV4Fault } from "../../http/sigv4/verify.ts";
import { authenticateSigned } from "../access-keys.ts";
import { Refused } from "../refusal.ts";
import type { Token, Tokens } from "../tokens.ts";
import { checkEdgeGrid, type EdgeGridFault, readEdgeGrid } from "./edgegrid.ts";

/** What is told of each fault, and CloudFront's name for it. */
const AWS_FAULTS: Readonly<Record<SigV4Fault, readonly [code: string, detail: string]>> = {
  unsigned: ["MissingAuthenticationToken", "sign the request (AWS4-HMAC-SHA256) with an access key"],
  malformed: ["IncompleteSignature", "the signature can not be read"],
  other_service: ["SignatureDoesNotMatch", "the request is signed for another service than cloudfront"],
  unknown_key: ["InvalidClientTokenId", "the access key is not known, has expired, or was revoked"],
  skewed: ["RequestExpired", "the request was signed too long ago, or in the future: set the clock"],
  expired: ["RequestExpired", "the signed URL is over"],
  field_unsigned: ["SignatureDoesNotMatch", "host, or a field x-amz-..., is not among the signed ones"],
  mismatch: ["SignatureDoesNotMatch", "the signature is that of another request or another secret"],
};
const EDGEGRID_FAULTS: Readonly<Record<EdgeGridFault, string>> = {
  unsigned: "sign the request (EG1-HMAC-SHA256) with an access key as client_token and access_token",
  malformed: "the Authorization field can not be read as EG1-HMAC-SHA256",
  skewed: "the request was signed too long ago, or in the future: set the clock",
  body_too_large: "the body is larger than what is signed of it",
  mismatch: "the signature is that of another request or client, or the client is not known any more",
};

/** The token whose secret signed a request for CloudFront. Throws a Refused 401. */
export function authenticateAws(tokens: Tokens, request: Request, body: Uint8Array, nowMs: number): Token {
  const url = new URL(request.url);
  const bodyHash = createHash("sha256").update(body).digest("hex");
  const refuse = (fault: SigV4Fault, secretly: string) => {
    const [code, detail] = AWS_FAULTS[fault];
    return new Refused(401, detail, { members: { code, secretly } });
  };
  const found = authenticateSigned(
    tokens,
    {
      method: request.method,
      path: url.pathname,
      query: url.search.slice(1),
      field: (name) => request.headers.get(name),
      fieldNames: [...request.headers.keys()],
    },
    { service: "cloudfront", nowMs, bodyHash },
  );
  if ("fault" in found) throw refuse(found.fault, found.secretly);
  // What an invalidation is of stands in its body: a signature that leaves that out says nothing.
  const { kind } = found.signature.payload;
  if (kind !== "hash") throw refuse("mismatch", `a payload that is ${kind}`);
  return found.token;
}

/** The same for Akamai's clients. */
export function authenticateEdgeGrid(
  tokens: Tokens,
  request: Request,
  body: Uint8Array,
  nowMs: number,
): Token {
  const refuse = (fault: EdgeGridFault, secretly: string) =>
    new Refused(401, EDGEGRID_FAULTS[fault], { members: { secretly } });
  const authorization = request.headers.get("authorization");
  const presented = readEdgeGrid(authorization);
  if (typeof presented === "string") throw refuse(presented, `a signature that is ${presented}`);
  const url = new URL(request.url);
  const key = tokens.accessKey(presented.clientToken);
  const fault = checkEdgeGrid(
    {
      method: request.method,
      scheme: url.protocol === "https:" ? "https" : "http",
      host: request.headers.get("host") ?? "",
      pathAndQuery: url.pathname + url.search,
      body,
    },
    presented,
    key?.secret ?? null,
    nowMs,
  );
  if (fault !== null || key === null)
    throw refuse(fault ?? "mismatch", tokens.describeAccessKey(presented.clientToken));
  key.used();
  return key.token;
}
