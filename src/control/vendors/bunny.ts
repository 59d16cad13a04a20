/**
 * Bunny's core API as far as it purges: a URL (with what is beneath it), a pull zone, a tag of it. A pull
 * zone is a site, by its number or its name. Storage zones are `src/storage`'s.
 */
import * as z from "zod";
import { Refused, titleOf } from "../refusal.ts";
import {
  jsonAnswer,
  type Operation,
  SECRET_CHARS_MAX,
  stepsOf,
  type Target,
  type Vendor,
  type VendorAnswer,
  type VendorRequest,
} from "./vendor.ts";

const BODY_BYTES_MAX = 64 * 1024;

/** Bunny takes names in any case. What is not known is refused: left aside, it would purge everything. */
const zoneBody = z.preprocess(
  (body) =>
    typeof body === "object" && body !== null && !Array.isArray(body)
      ? Object.fromEntries(Object.entries(body).map(([name, value]) => [name.toLowerCase(), value]))
      : body,
  z.strictObject({ cachetag: z.string().nullish(), async: z.boolean().nullish() }),
);

/** Bunny. */
export const bunny: Vendor = {
  name: "bunny",
  hosts: ["api.bunny.net"],
  bodyBytesMax: BODY_BYTES_MAX,
  bodyKind: "json",
  owns: (path, { query, fields }) =>
    path.startsWith("/pullzone/") || (path === "/purge" && (query.has("url") || fields.has("accesskey"))),
  credential: {
    kind: "secret",
    where: "AccessKey",
    read: (fields) => fields.get("accesskey")?.slice(0, SECRET_CHARS_MAX) ?? null,
  },
  newId: (random) => random(16).toString("hex"),
  read,
  refusal({ status, message, fields }): VendorAnswer {
    const { "www-authenticate": _, ...others } = fields;
    return jsonAnswer(
      status,
      { ErrorKey: titleOf(status).toLowerCase().replaceAll(" ", "."), Field: "", Message: message },
      others,
    );
  },
};

function read(request: VendorRequest): Operation | null {
  const steps = stepsOf(request.path);
  if (steps === null || steps.length > 3) return null;
  const [top, zone, what] = steps;
  if (top === "purge") return readUrl(request);
  if (top !== "pullzone" || zone === undefined || zone === "" || what !== "purgeCache") return null;
  if (request.method !== "POST") return null;
  const parsed = zoneBody.safeParse(request.json ?? {});
  if (!parsed.success) throw new Refused(400, 'the body is empty, {"CacheTag": "TAG"}, or {"async": true}');
  const { cachetag: tag, async } = parsed.data;
  if (tag === "") throw new Refused(400, "CacheTag: is empty; leave it out to purge everything");
  return {
    kind: "purge",
    site: { by: "id", id: zone },
    mode: "hard",
    targets: [tag == null ? { scope: "everything" } : { scope: "tag", tags: [tag] }],
    patience: async === true ? "none" : "applied",
    answer: () => ({ status: 204 }),
  };
}

/** `POST /purge?url=`; Bunny takes GET for the same, which a page of anybody's can cause: that one is not taken. */
function readUrl({ method, query }: VendorRequest): Operation | null {
  if (method !== "POST") return null;
  const url = query.get("url") ?? "";
  const flag = (name: string) => {
    const value = query.get(name)?.toLowerCase() ?? "false";
    if (value !== "true" && value !== "false") throw new Refused(400, `${name}: true or false`);
    return value === "true";
  };
  const exact = flag("exactPath");
  const isAsync = flag("async");
  const parsed = URL.parse(url.startsWith("//") ? `http:${url}` : url);
  if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:"))
    throw new Refused(400, 'url: an absolute URL such as "https://www.example.com/a.css"');
  return {
    kind: "purge",
    site: { by: "host" },
    mode: "hard",
    targets: [targetOf(parsed, exact)],
    patience: isAsync ? "none" : "applied",
    answer: () => ({ status: 200 }),
  };
}

/** A URL that ends with a slash is all beneath it, and stars stand for anything. */
function targetOf(url: URL, exact: boolean): Target {
  const named = `${url.hostname}${url.pathname}`;
  if (exact) return { scope: "url", urls: [url.href] };
  if (named.includes("*")) {
    const stars = named.split("*").length - 1;
    return stars === 1 && named.endsWith("*")
      ? { scope: "prefix", prefixes: [named.slice(0, -1)] }
      : { scope: "wildcard", patterns: [named] };
  }
  if (url.pathname.endsWith("/") && url.search === "") return { scope: "prefix", prefixes: [named] };
  return { scope: "url", urls: [url.href] };
}
