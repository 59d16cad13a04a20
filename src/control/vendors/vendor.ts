/**
 * What an API of another CDN is made of here: it reads a request in its own shape into an operation of ours,
 * and says in its own shape what came of it. Both are pure; `vendors.ts` does what the operation asks for.
 */
import type { PurgeMode } from "../../cache/purge-table.ts";
import type { Refused } from "../refusal.ts";

/** The APIs that are spoken. */
export type VendorName = "cloudflare" | "fastly" | "cloudfront" | "bunny" | "akamai";

/** A request in a vendor's shape, its body read. */
export interface VendorRequest {
  readonly method: string;
  /** As sent, percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** With its question mark; empty without one. */
  readonly search: string;
  readonly fields: Headers;
  readonly body: Uint8Array;
  /** The body as JSON; undefined when it is empty or not read as JSON. */
  readonly json: unknown;
}

/** An answer in a vendor's shape. */
export interface VendorAnswer {
  readonly status: number;
  /** Left out: no body. */
  readonly body?: string;
  readonly type?: string;
  readonly fields?: Readonly<Record<string, string>>;
}

/** A site as vendors' clients are told of it. */
export interface KnownSite {
  readonly id: string;
  /** Patterns of its hosts, as configured. */
  readonly hosts: readonly string[];
}

/** How a request names the site that it is about. */
export type SiteRef =
  /** By an id: the site's own, one that is made of it, or one of the site's `vendorIds`. */
  | { readonly by: "id"; readonly id: string }
  /** By the host of each target: every target may be of another site. */
  | { readonly by: "host" }
  /** Every site that the caller may purge. */
  | { readonly by: "caller" };

/** What is to be purged of a site, in the terms of the one purge model. */
export type Target =
  | { readonly scope: "url"; readonly urls: readonly string[] }
  | { readonly scope: "prefix"; readonly prefixes: readonly string[] }
  | { readonly scope: "wildcard"; readonly patterns: readonly string[] }
  | { readonly scope: "host"; readonly hosts: readonly string[] }
  | { readonly scope: "tag"; readonly tags: readonly string[] }
  | { readonly scope: "everything" }
  /** Paths with their query on whatever host the site has; resolved against the site's hosts. */
  | { readonly scope: "path"; readonly paths: readonly string[] };

/** How long the answer waits for the nodes: not at all, until they have applied, until they have counted. */
export type Patience = "none" | "applied" | "counted";

/** What came of a purge. */
export interface Purged {
  /** Id in the vendor's shape, by which `GET /v1/purges/ID` knows it. */
  readonly id: string;
  readonly sites: readonly KnownSite[];
  readonly acceptedMs: number;
  readonly state: "accepted" | "applied" | "counted";
  /** Stored objects that were hit on all nodes that have counted; null when none has. */
  readonly objects: number | null;
  /** What the operation said is to be told of it later. */
  readonly echo: string;
}

/** The caller's own name for an order: the same name with the same content is done once. */
export interface Reference {
  readonly name: string;
  /** A hash of all that was asked for. */
  readonly content: string;
  /** Refuses the name for other content. */
  onConflict(): Refused;
}

/** What a request asks for. */
export type Operation =
  | {
      readonly kind: "purge";
      readonly site: SiteRef;
      readonly mode: PurgeMode;
      readonly targets: readonly Target[];
      readonly patience: Patience;
      readonly reference?: Reference;
      /** What the vendor's API tells of it later, as it wants to have it: some KiB at most. */
      readonly echo?: string;
      readonly answer: (purged: Purged, isNew: boolean) => VendorAnswer;
    }
  | {
      readonly kind: "purge-show";
      readonly site: string;
      readonly id: string;
      readonly answer: (purged: Purged) => VendorAnswer;
      readonly onMissing: () => Refused;
    }
  | {
      readonly kind: "purge-list";
      readonly site: string;
      /** Id of the last one that was seen; null for the first page. */
      readonly after: string | null;
      readonly limit: number;
      readonly answer: (purges: readonly Purged[], more: boolean) => VendorAnswer;
    }
  | {
      readonly kind: "site-list";
      readonly answer: (sites: readonly KnownSite[]) => VendorAnswer;
    }
  | {
      readonly kind: "site-show";
      readonly id: string;
      readonly answer: (site: KnownSite) => VendorAnswer;
    }
  | {
      readonly kind: "caller";
      readonly answer: (callerId: string) => VendorAnswer;
    };

/** An API of another CDN. */
export interface Vendor {
  readonly name: VendorName;
  /** Host names that its clients ask. */
  readonly hosts: readonly string[];
  readonly bodyBytesMax: number;
  /** How the body is read. */
  readonly bodyKind: "json" | "raw";
  /** True for a request that is of this API, by its path. */
  owns(path: string, request: { readonly query: URLSearchParams; readonly fields: Headers }): boolean;
  /** Where the request shows who it is from. */
  readonly credential: Credential;
  /** A new id for a purge, in the vendor's shape. `random` gives so many random bytes. */
  newId(random: (bytes: number) => Buffer, nowMs: number): string;
  /** Reads a request; null for one that the API does not know. Throws a Refused. */
  read(request: VendorRequest): Operation | null;
  /** A refusal in the vendor's shape. */
  refusal(refused: Refused, requestId: string): VendorAnswer;
}

/** A secret in a field, or a signature over the whole request. */
export type Credential =
  | {
      readonly kind: "secret";
      /** The secret, null when there is none. */
      read(fields: Headers): string | null;
      /** Which field wants it, in words. */
      readonly where: string;
    }
  | { readonly kind: "signature"; readonly scheme: "aws4" | "edgegrid" };

/** Longest secret that is looked at, in characters. */
export const SECRET_CHARS_MAX = 500;

/** JSON in an answer. */
export function jsonAnswer(
  status: number,
  value: unknown,
  fields: Readonly<Record<string, string>> = {},
): VendorAnswer {
  return { status, body: JSON.stringify(value), type: "application/json", fields };
}

/** Steps of a path, decoded; null when one is not UTF-8 or has a null character. */
export function stepsOf(path: string): readonly string[] | null {
  try {
    const steps = path.split("/").slice(1).map(decodeURIComponent);
    return steps.some((step) => step.includes("\0")) ? null : steps;
  } catch {
    return null;
  }
}
