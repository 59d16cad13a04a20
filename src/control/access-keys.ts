/** Who signed a request (AWS SigV4), by the access keys among the tokens. */
import {
  type ReceivedRequest,
  readSigV4,
  type SigV4Fault,
  type VerifiedSignature,
  verifySigV4,
} from "../http/sigv4/verify.ts";
import type { Token, Tokens } from "./tokens.ts";

/** A request whose signature is right. */
export interface SignedCaller {
  readonly token: Token;
  readonly signature: VerifiedSignature;
}

/** Why a signed request is refused. */
export interface SignatureRefusal {
  readonly fault: SigV4Fault;
  /** For the audit log, never for who sent it. */
  readonly secretly: string;
}

/**
 * The token that signed a request for `service` ("s3", "cloudfront"). `bodyHash` is the body's SHA-256 where
 * the body was read before.
 */
export function authenticateSigned(
  tokens: Tokens,
  request: ReceivedRequest,
  options: { readonly service: string; readonly nowMs: number; readonly bodyHash?: string },
): SignedCaller | SignatureRefusal {
  const presented = readSigV4(request);
  if (typeof presented === "string")
    return { fault: presented, secretly: `a signature that is ${presented}` };
  const key = tokens.accessKey(presented.accessKeyId);
  const verified = verifySigV4(request, presented, key?.secret ?? null, options);
  if (typeof verified === "string" || key === null) {
    const fault = typeof verified === "string" ? verified : "unknown_key";
    const secretly =
      fault === "mismatch" || fault === "unknown_key"
        ? tokens.describeAccessKey(presented.accessKeyId)
        : `access key ${presented.accessKeyId.slice(0, 20)}: ${fault}`;
    return { fault, secretly };
  }
  key.used();
  return { token: key.token, signature: verified };
}
