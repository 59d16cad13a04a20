/**
 * Fastly's API: purge by key, by keys, of everything and by URL, soft where it says so. A service is a site.
 * Answers tell how many stored objects were hit: a key that nothing has is the usual mistake there.
 */
import * as z from "zod";
import { Refused, titleOf } from "../refusal.ts";
import {
  jsonAnswer,
  type Operation,
  type Purged,
  SECRET_CHARS_MAX,
  stepsOf,
  type Target,
  type Vendor,
  type VendorAnswer,
  type VendorRequest,
} from "./vendor.ts";

/** Keys of one request, as Fastly has it. */
const KEYS_MAX = 256;
const BODY_BYTES_MAX = 512 * 1024;
const WARNING_CHARS_MAX = 200;

const keysBody = z.looseObject({ surrogate_keys: z.array(z.string()).min(1) });

/** Fastly. */
export const fastly: Vendor = {
  name: "fastly",
  hosts: ["api.fastly.com"],
  bodyBytesMax: BODY_BYTES_MAX,
  bodyKind: "json",
  owns: (path, { query, fields }) =>
    path.startsWith("/service/") ||
    path.startsWith("/purge/") ||
    // Bunny has the same path, with the URL in its query and a key of another name.
    (path === "/purge" && !query.has("url") && !fields.has("accesskey")),
  credential: {
    kind: "secret",
    where: "Fastly-Key",
    read: (fields) => fields.get("fastly-key")?.slice(0, SECRET_CHARS_MAX) ?? null,
  },
  newId: (random, nowMs) => {
    const [a, b] = [random(2).readUInt16BE(), random(4).readUInt32BE()];
    return `${100 + (a % 900)}-${Math.floor(nowMs / 1_000)}-${b}`;
  },
  read,
  refusal: ({ status, message, fields }): VendorAnswer =>
    jsonAnswer(status, { msg: titleOf(status), detail: message }, withoutChallenge(fields)),
};

function read(request: VendorRequest): Operation | null {
  if (request.method !== "POST") return null;
  const soft = request.fields.has("fastly-soft-purge");
  if (request.path.startsWith("/purge/")) return readUrl(request, soft);
  const steps = stepsOf(request.path);
  if (steps === null) return null;
  const [top, service = "", what, ...rest] = steps;
  // A slash belongs to the key: who means a path is told by the warning that nothing has it.
  const key = rest.length === 0 ? undefined : rest.join("/");
  if (top === "purge") {
    // Not a call that Fastly has: the keys are looked for on every service of the token.
    const keys = keysOf(request);
    return {
      ...purge({ scope: "tag", tags: keys }, soft),
      site: { by: "caller" },
      answer: (purged: Purged) => jsonAnswer(200, { status: "ok", id: purged.id }, notes(purged, keys)),
    };
  }
  if (service === "") return null;
  const site = { by: "id", id: service } as const;
  if (what === "purge_all" && key === undefined)
    return {
      ...purge({ scope: "everything" }, false),
      site,
      answer: (purged: Purged) => jsonAnswer(200, { status: "ok" }, notes(purged, null)),
    };
  if (what !== "purge") return null;
  if (key === undefined) {
    const keys = keysOf(request);
    return {
      ...purge({ scope: "tag", tags: keys }, soft),
      site,
      answer: (purged: Purged) =>
        jsonAnswer(200, Object.fromEntries(keys.map((one) => [one, purged.id])), notes(purged, keys)),
    };
  }
  if (key === "") throw new Refused(400, "the path ends without a key: /service/ID/purge/KEY");
  return {
    ...purge({ scope: "tag", tags: [key] }, soft),
    site,
    answer: (purged: Purged) => jsonAnswer(200, { status: "ok", id: purged.id }, notes(purged, [key])),
  };
}

function purge(target: Target, soft: boolean) {
  return {
    kind: "purge",
    mode: soft ? "soft" : "hard",
    targets: [target],
    patience: "counted",
  } as const;
}

/** `POST /purge/HOST/PATH?QUERY`: the URL stands there as it is. */
function readUrl({ path, search }: VendorRequest, soft: boolean): Operation {
  const named = path.slice("/purge/".length).replace(/^https?:\/{1,2}/i, "");
  const url = URL.canParse(`http://${named}${search}`) ? `http://${named}${search}` : null;
  if (url === null || named.startsWith("/"))
    throw new Refused(400, "the path holds a host and a path: /purge/www.example.com/index.html");
  return {
    ...purge({ scope: "url", urls: [url] }, soft),
    site: { by: "host" },
    answer: (purged: Purged) => jsonAnswer(200, { status: "ok", id: purged.id }, notes(purged, null)),
  };
}

/** The keys of a request, in its field or its body. */
function keysOf({ fields, json }: VendorRequest): readonly string[] {
  const field = fields.get("surrogate-key");
  let keys: readonly string[];
  if (field !== null) keys = field.split(/[\s,]+/).filter((key) => key !== "");
  else {
    const parsed = keysBody.safeParse(json);
    if (!parsed.success)
      throw new Refused(400, 'send the field Surrogate-Key: key_1 key_2, or {"surrogate_keys": ["key_1"]}');
    keys = parsed.data.surrogate_keys;
  }
  keys = [...new Set(keys)];
  if (keys.length === 0) throw new Refused(400, "the field Surrogate-Key holds no key");
  if (keys.length > KEYS_MAX)
    throw new Refused(400, `a request names ${KEYS_MAX} keys at most, not ${keys.length}`);
  return keys;
}

/** How many objects were hit, and a warning when there were none. */
function notes(purged: Purged, keys: readonly string[] | null): Readonly<Record<string, string>> {
  if (purged.state !== "counted" || purged.objects === null) return {};
  const fields = { "proxima-purged-objects": String(purged.objects) };
  if (purged.objects > 0 || keys === null) return fields;
  const shown = keys
    .join(" ")
    .replace(/[^\x20-\x7e]|["\\]/g, "?")
    .slice(0, WARNING_CHARS_MAX);
  const isPath = keys.some((key) => key.includes("/"));
  const hint = isPath ? "; a path is purged by POST /purge/HOST/PATH" : "";
  return { ...fields, warning: `299 proxima "no stored object has a key of these: ${shown}${hint}"` };
}

function withoutChallenge({
  "www-authenticate": _,
  ...others
}: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return others;
}
