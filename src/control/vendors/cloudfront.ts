/**
 * CloudFront's API 2020-05-31 as far as it invalidates: create, show and list invalidations, and what a client
 * asks to find a distribution. A distribution is a site. There is no limit of invalidations in progress: each
 * is one entry of the log, however many paths it has.
 */
import { createHash } from "node:crypto";
import { textOf } from "../api/body.ts";
import { Refused } from "../refusal.ts";
import { capitals, siteIds } from "./site-ids.ts";
import {
  type KnownSite,
  type Operation,
  type Purged,
  stepsOf,
  type Target,
  type Vendor,
  type VendorAnswer,
  type VendorRequest,
} from "./vendor.ts";
import { childOf, escapeXml, parseXml, type XmlElement } from "./xml.ts";

const VERSION = "2020-05-31";
const NAMESPACE = `http://cloudfront.amazonaws.com/doc/${VERSION}/`;
const BODY_BYTES_MAX = 1024 * 1024;
/** Paths of one invalidation, and characters of a path: CloudFront's own limits. */
const PATHS_MAX = 3_000;
const PATH_CHARS_MAX = 4_000;
const TAG_CHARS_MAX = 256;
const REFERENCE_CHARS_MAX = 128;
const LIST_DEFAULT = 100;
const LIST_MAX = 100;
/** What is kept of an invalidation's paths to be told later, in characters of JSON. */
const ECHO_CHARS_MAX = 16_384;

/** Codes of errors where the refusal names none. */
const CODES: Readonly<Record<number, string>> = {
  400: "InvalidArgument",
  401: "AccessDenied",
  403: "AccessDenied",
  404: "NoSuchResource",
  409: "IllegalUpdate",
  413: "InvalidArgument",
  429: "Throttling",
  500: "InternalError",
};

/** What is told of an invalidation later. */
interface Echo {
  readonly reference: string;
  readonly quantity: number;
  /** The paths, or the first of them. */
  readonly paths: readonly string[];
}

/** CloudFront. */
export const cloudfront: Vendor = {
  name: "cloudfront",
  hosts: ["cloudfront.amazonaws.com"],
  bodyBytesMax: BODY_BYTES_MAX,
  bodyKind: "raw",
  owns: (path) => path.startsWith(`/${VERSION}/`),
  credential: { kind: "signature", scheme: "aws4" },
  newId: (random) => `I${capitals(random(13))}`,
  read,
  refusal({ status, message, fields, members }, requestId): VendorAnswer {
    const usual = members.missing === "site" ? "NoSuchDistribution" : (CODES[status] ?? "InvalidArgument");
    const code = typeof members.code === "string" ? members.code : usual;
    const shown = status === 401 ? 403 : status;
    const { "www-authenticate": _, ...others } = fields;
    const type = status >= 500 ? "Receiver" : "Sender";
    return xmlAnswer(
      shown,
      `<ErrorResponse xmlns="${NAMESPACE}"><Error><Type>${type}</Type><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error><RequestId>${requestId}</RequestId></ErrorResponse>`,
      { ...others, "x-amzn-requestid": requestId },
    );
  },
};

function read(request: VendorRequest): Operation | null {
  const steps = stepsOf(request.path);
  if (steps === null) return null;
  const { method } = request;
  const [, top, distribution, what, id, ...rest] = steps;
  if (top !== "distribution" || rest.length > 0) return null;
  if (distribution === undefined || distribution === "")
    return method === "GET" ? readSites(request.query) : null;
  if (what === undefined)
    return method === "GET"
      ? {
          kind: "site-show",
          id: distribution,
          answer: (site) => xmlAnswer(200, distributionOf(site), { etag: siteIds(site.id).cloudfront }),
        }
      : null;
  if (what !== "invalidation") return null;
  if (id === undefined || id === "") {
    if (method === "POST") return readCreate(distribution, request);
    return method === "GET" ? readList(distribution, request.query) : null;
  }
  if (method !== "GET") return null;
  return {
    kind: "purge-show",
    site: distribution,
    id,
    answer: (purged) => xmlAnswer(200, invalidationOf(purged)),
    onMissing: () =>
      new Refused(404, `there is no invalidation "${id.slice(0, 100)}"`, {
        members: { code: "NoSuchInvalidation" },
      }),
  };
}

function readCreate(distribution: string, { body }: VendorRequest): Operation {
  const batch = parseXml(textOf(body));
  if (batch.name !== "InvalidationBatch")
    throw new Refused(400, `the body is an <InvalidationBatch>, not <${batch.name}>`);
  const reference = childOf(batch, "CallerReference")?.text.trim() ?? "";
  if (reference === "" || reference.length > REFERENCE_CHARS_MAX)
    throw new Refused(400, `CallerReference: 1 to ${REFERENCE_CHARS_MAX} characters`);
  const paths = pathsOf(childOf(batch, "Paths"));
  const content = createHash("sha256")
    .update(JSON.stringify([...paths].sort()))
    .digest("hex");
  return {
    kind: "purge",
    site: { by: "id", id: distribution },
    mode: "hard",
    targets: targetsOf(paths),
    patience: "none",
    reference: {
      name: reference,
      content,
      onConflict: () =>
        new Refused(
          400,
          `CallerReference "${reference}" was used for an invalidation with other paths: take another one`,
          { members: { code: "InvalidationBatchAlreadyExists" } },
        ),
    },
    echo: JSON.stringify({ reference, quantity: paths.length, paths: firstOf(paths) } satisfies Echo),
    // What is answered to the same reference again is the same, with what has become of it.
    answer: (purged, isNew) =>
      xmlAnswer(201, invalidationOf(purged, isNew ? "InProgress" : null), {
        location: `https://cloudfront.amazonaws.com/${VERSION}/distribution/${distribution}/invalidation/${purged.id}`,
      }),
  };
}

function pathsOf(paths: XmlElement | null): readonly string[] {
  if (paths === null) throw new Refused(400, "the <InvalidationBatch> holds no <Paths>");
  const items = childOf(paths, "Items")?.children ?? [];
  const found = items.map(({ name, text }) => {
    if (name !== "Path") throw new Refused(400, `<Items> holds <Path> elements, not <${name}>`);
    return text.trim();
  });
  const quantity = childOf(paths, "Quantity")?.text.trim() ?? "";
  if (!/^\d{1,6}$/.test(quantity) || Number(quantity) !== found.length)
    throw new Refused(400, `Quantity is "${quantity.slice(0, 20)}", and there are ${found.length} paths`, {
      members: { code: "InconsistentQuantities" },
    });
  if (found.length === 0 || found.length > PATHS_MAX)
    throw new Refused(400, `an invalidation has 1 to ${PATHS_MAX} paths, not ${found.length}`, {
      members: { code: found.length === 0 ? "InvalidArgument" : "BatchTooLarge" },
    });
  return found;
}

/** Tags stand among the paths, with a number sign in front. */
function targetsOf(items: readonly string[]): Target[] {
  const tags: string[] = [];
  const paths: string[] = [];
  for (const item of items) {
    if (item.startsWith("#")) {
      const tag = item.slice(1);
      if (tag === "" || tag.length > TAG_CHARS_MAX || tag.includes("*"))
        throw new Refused(
          400,
          `"${item.slice(0, 100)}": a tag has 1 to ${TAG_CHARS_MAX} characters and no wildcard`,
        );
      tags.push(tag);
      continue;
    }
    // CloudFront takes a path without its slash.
    const path = item.startsWith("/") ? item : `/${item}`;
    const star = path.indexOf("*");
    if (path.length > PATH_CHARS_MAX || (star >= 0 && star !== path.length - 1))
      throw new Refused(
        400,
        `"${item.slice(0, 100)}": a path has ${PATH_CHARS_MAX} characters at most, and a * at its end only`,
      );
    paths.push(path);
  }
  return [
    ...(paths.length === 0 ? [] : [{ scope: "path", paths } as const]),
    ...(tags.length === 0 ? [] : [{ scope: "tag", tags } as const]),
  ];
}

function firstOf(paths: readonly string[]): readonly string[] {
  let chars = 0;
  const end = paths.findIndex((path) => {
    chars += JSON.stringify(path).length + 1;
    return chars > ECHO_CHARS_MAX;
  });
  return end < 0 ? paths : paths.slice(0, end);
}

function readList(distribution: string, query: URLSearchParams): Operation {
  const { marker, most } = pageOf(query);
  return {
    kind: "purge-list",
    site: distribution,
    after: marker,
    limit: most,
    answer(purges, more) {
      const items = purges.map(
        (purged) =>
          `<InvalidationSummary><Id>${purged.id}</Id><CreateTime>${timeOf(purged)}</CreateTime><Status>${statusOf(purged)}</Status></InvalidationSummary>`,
      );
      const next = more ? `<NextMarker>${purges.at(-1)?.id ?? ""}</NextMarker>` : "";
      return xmlAnswer(
        200,
        `<InvalidationList xmlns="${NAMESPACE}"><Marker>${escapeXml(marker ?? "")}</Marker>${next}<MaxItems>${most}</MaxItems><IsTruncated>${more}</IsTruncated>${listOf(items)}</InvalidationList>`,
      );
    },
  };
}

/** Distributions by the id of their site; the marker is the id of the last one that was seen. */
function readSites(query: URLSearchParams): Operation {
  const { marker, most } = pageOf(query);
  return {
    kind: "site-list",
    answer(sites) {
      const from = marker === null ? 0 : sites.findIndex(({ id }) => siteIds(id).cloudfront === marker) + 1;
      const rest = marker !== null && from === 0 ? [] : sites.slice(from);
      const shown = rest.slice(0, most);
      const last = shown.at(-1);
      const more = last !== undefined && rest.length > most;
      const next = more ? `<NextMarker>${siteIds(last.id).cloudfront}</NextMarker>` : "";
      return xmlAnswer(
        200,
        `<DistributionList xmlns="${NAMESPACE}"><Marker>${escapeXml(marker ?? "")}</Marker>${next}<MaxItems>${most}</MaxItems><IsTruncated>${more}</IsTruncated>${listOf(shown.map(summaryOf))}</DistributionList>`,
      );
    },
  };
}

/** Which page of a list, and how large. Throws a Refused 400. */
function pageOf(query: URLSearchParams): { readonly marker: string | null; readonly most: number } {
  const text = query.get("MaxItems");
  const limit = text === null ? LIST_DEFAULT : /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit < 1) throw new Refused(400, "MaxItems: a whole number from 1");
  return { marker: query.get("Marker") || null, most: Math.min(limit, LIST_MAX) };
}

function distributionOf(site: KnownSite): string {
  return `<Distribution xmlns="${NAMESPACE}">${identityOf(site)}<InProgressInvalidationBatches>0</InProgressInvalidationBatches></Distribution>`;
}

function summaryOf(site: KnownSite): string {
  return `<DistributionSummary>${identityOf(site)}<Aliases>${listOf(site.hosts.map((host) => `<CNAME>${escapeXml(host)}</CNAME>`))}</Aliases><Enabled>true</Enabled><Comment>${escapeXml(site.id)}</Comment></DistributionSummary>`;
}

function identityOf({ id, hosts }: KnownSite): string {
  const ours = siteIds(id).cloudfront;
  const domain = hosts.find((host) => !host.includes("*")) ?? id;
  return `<Id>${ours}</Id><ARN>arn:aws:cloudfront::000000000000:distribution/${ours}</ARN><Status>Deployed</Status><DomainName>${escapeXml(domain)}</DomainName>`;
}

function invalidationOf(purged: Purged, status: string | null = null): string {
  // Written by `readCreate` alone.
  const { reference, quantity, paths } = JSON.parse(purged.echo) as Echo;
  const items = paths.map((path) => `<Path>${escapeXml(path)}</Path>`);
  return `<Invalidation xmlns="${NAMESPACE}"><Id>${purged.id}</Id><Status>${status ?? statusOf(purged)}</Status><CreateTime>${timeOf(purged)}</CreateTime><InvalidationBatch><Paths>${listOf(items, quantity)}</Paths><CallerReference>${escapeXml(reference)}</CallerReference></InvalidationBatch></Invalidation>`;
}

/** A list as CloudFront has it; without items there is no element for them. */
function listOf(items: readonly string[], quantity = items.length): string {
  return `<Quantity>${quantity}</Quantity>${items.length === 0 ? "" : `<Items>${items.join("")}</Items>`}`;
}

function statusOf({ state }: Purged): string {
  return state === "accepted" ? "InProgress" : "Completed";
}

function timeOf({ acceptedMs }: Purged): string {
  return new Date(acceptedMs).toISOString();
}

function xmlAnswer(
  status: number,
  element: string,
  fields: Readonly<Record<string, string>> = {},
): VendorAnswer {
  return { status, body: `<?xml version="1.0" encoding="UTF-8"?>\n${element}`, type: "text/xml", fields };
}
