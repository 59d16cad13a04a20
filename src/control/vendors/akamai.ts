/**
 * Akamai's Fast Purge v3: invalidate (soft) and delete (hard) by URL, by tag and by CP code, which is a site.
 * Staging is a network of its own there; here it is none, and is purged as production is.
 */
import { randomUUID } from "node:crypto";
import * as z from "zod";
import { Refused, titleOf } from "../refusal.ts";
import {
  jsonAnswer,
  type Operation,
  stepsOf,
  type Target,
  type Vendor,
  type VendorAnswer,
  type VendorRequest,
} from "./vendor.ts";

/** As Akamai has it: 50,000 bytes; more is of no harm here. */
const BODY_BYTES_MAX = 128 * 1024;
const OBJECTS_MAX = 10_000;
const SECONDS = 5;

const objectsBody = z.looseObject({
  objects: z
    .array(z.union([z.string(), z.int().min(0)]))
    .min(1)
    .max(OBJECTS_MAX),
  hostname: z.string().optional(),
});

/** Akamai. */
export const akamai: Vendor = {
  name: "akamai",
  // Each of its customers has a host of his own, beneath this one.
  hosts: ["*.purge.akamaiapis.net", "*.luna.akamaiapis.net"],
  bodyBytesMax: BODY_BYTES_MAX,
  bodyKind: "json",
  owns: (path) => path.startsWith("/ccu/v3/"),
  credential: { kind: "signature", scheme: "edgegrid" },
  newId: () => randomUUID(),
  read,
  refusal({ status, message, fields }, requestId): VendorAnswer {
    const { "www-authenticate": _, ...others } = fields;
    return {
      ...jsonAnswer(
        status,
        {
          type: "about:blank",
          title: titleOf(status),
          status,
          httpStatus: status,
          detail: message,
          supportId: requestId,
        },
        others,
      ),
      type: "application/problem+json",
    };
  },
};

function read(request: VendorRequest): Operation | null {
  const steps = stepsOf(request.path);
  if (steps === null || request.method !== "POST") return null;
  const [, , action, by, network = "production", ...rest] = steps;
  if (rest.length > 0 || (action !== "invalidate" && action !== "delete")) return null;
  if (network !== "production" && network !== "staging") return null;
  if (by !== "url" && by !== "tag" && by !== "cpcode") return null;
  const parsed = objectsBody.safeParse(request.json);
  if (!parsed.success)
    throw new Refused(400, `the body is {"objects": [...]} with 1 to ${OBJECTS_MAX} URLs, tags or CP codes`);
  const objects = parsed.data.objects.map(String);
  const shared = {
    kind: "purge",
    mode: action === "invalidate" ? "soft" : "hard",
    patience: "none",
    answer: ({ id }: { readonly id: string }) =>
      jsonAnswer(201, {
        httpStatus: 201,
        detail: "Request accepted",
        supportId: id,
        purgeId: id,
        estimatedSeconds: SECONDS,
      }),
  } as const;
  if (by === "tag") return { ...shared, site: { by: "caller" }, targets: [{ scope: "tag", tags: objects }] };
  if (by === "url")
    return { ...shared, site: { by: "host" }, targets: [urlsOf(objects, parsed.data.hostname)] };
  const [code, ...more] = objects;
  if (code === undefined || more.length > 0) throw new Refused(400, "one CP code in a request: it is a site");
  return { ...shared, site: { by: "id", id: code }, targets: [{ scope: "everything" }] };
}

/** Objects are URLs, or paths of the host that the body names. */
function urlsOf(objects: readonly string[], hostname: string | undefined): Target {
  const urls = objects.map((object, i) => {
    const text = object.startsWith("/") && hostname !== undefined ? `http://${hostname}${object}` : object;
    if (!/^https?:\/\//i.test(text) || !URL.canParse(text))
      throw new Refused(400, `objects[${i}]: "${object.slice(0, 200)}" is not an absolute URL`);
    return text;
  });
  return { scope: "url", urls };
}
