/** The stores that a bucket may lie in: where an object is asked for, and what makes the request ours. */
import { formatHttpDate } from "../../http/date.ts";
import type { Fields } from "../../http/fields.ts";
import {
  amzDate,
  authorization,
  EMPTY_PAYLOAD_HASH,
  type SigV4Credentials,
  type SigV4Scope,
  signingKey,
} from "../../http/sigv4/sign.ts";
import type { AzureCredentials, HeldCredentials } from "./credentials.ts";
import { encodeKey } from "./object-key.ts";
import { sharedKeyAuthorization } from "./shared-key.ts";

/** A request for an object, not yet signed. */
export interface UnsignedRequest {
  readonly method: "GET" | "HEAD";
  readonly key: string;
  /** Fields of the request; what authorizes it is added. */
  readonly fields: Fields;
}

/** A signed request's target, and the way to better credentials should these be refused. */
export interface Signed {
  readonly target: string;
  /** Resolves with true when other credentials are there now. */
  readonly renew: () => Promise<boolean>;
}

/** A kind of store, and one bucket in it. */
export interface BucketService {
  /** The bucket in messages: `S3 bucket "assets"`. */
  readonly label: string;
  /** The Host that is asked, and signed. */
  readonly authority: string;
  /** What the names of an object's own metadata begin with. */
  readonly metadataPrefix: string;
  /** Does it understand a range of the last bytes (`bytes=-500`)? */
  readonly suffixRanges: boolean;
  /** Signs a request at the time `nowMs`. */
  sign(request: UnsignedRequest, nowMs: number): Signed;
  /** Reads the credentials anew. Rejects with a ProximaError when they can not be used; the old ones stay then. */
  reload(): Promise<void>;
}

/** Where a bucket is: the Host, and what stands before a key in the path. */
interface BucketPlace {
  readonly authority: string;
  /** Ends in a slash. */
  readonly pathPrefix: string;
}

const NEVER = (): Promise<boolean> => Promise.resolve(false);

/** S3, what speaks its protocol, and Google Cloud Storage, whose HMAC keys sign in the same way. */
export class SigV4Service implements BucketService {
  readonly label: string;
  readonly authority: string;
  readonly metadataPrefix: string;
  readonly suffixRanges = true;
  readonly #pathPrefix: string;
  readonly #scope: SigV4Scope;
  readonly #credentials: HeldCredentials<SigV4Credentials> | null;
  /** The signing key of one day. */
  #key: { readonly of: SigV4Credentials; readonly day: string; readonly key: Uint8Array } | null = null;

  /** Without credentials requests are not signed: the bucket has to be a public one. */
  constructor(
    options: BucketPlace & {
      readonly label: string;
      readonly region: string;
      readonly metadataPrefix: string;
      readonly credentials: HeldCredentials<SigV4Credentials> | null;
    },
  ) {
    this.label = options.label;
    this.authority = options.authority;
    this.metadataPrefix = options.metadataPrefix;
    this.#pathPrefix = options.pathPrefix;
    this.#scope = { region: options.region, service: "s3" };
    this.#credentials = options.credentials;
  }

  sign({ method, key, fields }: UnsignedRequest, nowMs: number): Signed {
    const target = this.#pathPrefix + encodeKey(key);
    const held = this.#credentials;
    if (held === null) return { target, renew: NEVER };
    const credentials = held.current;
    const date = amzDate(nowMs);
    const signed: [string, string][] = [
      ["x-amz-content-sha256", EMPTY_PAYLOAD_HASH],
      ["x-amz-date", date],
    ];
    if (credentials.sessionToken !== null) signed.push(["x-amz-security-token", credentials.sessionToken]);
    for (const [name, value] of signed) fields.set(name, value);
    // Range and conditions are left unsigned: a proxy in between may take them out, and nothing is lost.
    signed.push(["host", this.authority]);
    const request = { method, path: target, query: "", fields: signed, payloadHash: EMPTY_PAYLOAD_HASH };
    fields.set(
      "authorization",
      authorization(request, credentials.accessKeyId, this.#keyOf(credentials, date), date, this.#scope),
    );
    return { target, renew: () => held.renew(credentials) };
  }

  async reload(): Promise<void> {
    await this.#credentials?.reload();
  }

  #keyOf(credentials: SigV4Credentials, date: string): Uint8Array {
    const day = date.slice(0, 8);
    if (this.#key?.of !== credentials || this.#key.day !== day) {
      this.#key = { of: credentials, day, key: signingKey(credentials.secretAccessKey, date, this.#scope) };
    }
    return this.#key.key;
  }
}

/**
 * Version of Azure's protocol that is asked for. Without one a public container answers as in 2009, with
 * entity tags that have no quotes.
 */
const AZURE_VERSION = "2021-12-02";

/** Azure Blob Storage. */
export class AzureService implements BucketService {
  readonly label: string;
  readonly authority: string;
  readonly metadataPrefix = "x-ms-meta-";
  readonly suffixRanges = false;
  readonly #pathPrefix: string;
  readonly #account: string;
  readonly #credentials: HeldCredentials<AzureCredentials> | null;

  /** Without credentials requests are not signed: the container has to be a public one. */
  constructor(
    options: BucketPlace & {
      readonly label: string;
      readonly account: string;
      readonly credentials: HeldCredentials<AzureCredentials> | null;
    },
  ) {
    this.label = options.label;
    this.authority = options.authority;
    this.#pathPrefix = options.pathPrefix;
    this.#account = options.account;
    this.#credentials = options.credentials;
  }

  sign({ method, key, fields }: UnsignedRequest, nowMs: number): Signed {
    const path = this.#pathPrefix + encodeKey(key);
    fields.set("x-ms-version", AZURE_VERSION);
    const held = this.#credentials;
    if (held === null) return { target: path, renew: NEVER };
    const credentials = held.current;
    const renew = () => held.renew(credentials);
    if (credentials.kind === "sas") return { target: `${path}?${credentials.query}`, renew };
    fields.set("x-ms-date", formatHttpDate(nowMs));
    const request = { method, path, query: "", fields };
    fields.set("authorization", sharedKeyAuthorization(request, this.#account, credentials.key));
    return { target: path, renew };
  }

  async reload(): Promise<void> {
    await this.#credentials?.reload();
  }
}
