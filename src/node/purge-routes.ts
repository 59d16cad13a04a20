/** `/v1/purges` of a node's control listener. */
import type { Hono } from "hono";
import { ProximaError } from "../base/errors.ts";
import { json, problem } from "../service/problem.ts";
import type { PurgeService } from "./purge-service.ts";

/** Largest body of a purge, in bytes: 10,000 URLs of a usual length. */
export const PURGE_BODY_BYTES_MAX = 8 * 1_024 * 1_024;
const LIST_DEFAULT = 50;
/** When to try again a purge that there was no room for: sweeps take seconds. */
const RETRY_AFTER_SECONDS = 2;

/** The answer to a body over the limit. */
export function bodyTooLarge(): Response {
  return problem(413, "Content Too Large", `a body has ${PURGE_BODY_BYTES_MAX} bytes at most`);
}

/** Adds the routes. In a fleet `control` is the URL of the control plane, where purges are to be sent. */
export function addPurgeRoutes(app: Hono, purges: PurgeService, control: string | null): void {
  app.post("/v1/purges", async (context) => {
    if (control !== null)
      return problem(
        409,
        "Conflict",
        `this node belongs to a fleet: a purge of it alone would be undone by the others; send it to the control plane, ${control}/v1/purges`,
      );
    let body: unknown;
    try {
      const bytes = await context.req.arrayBuffer();
      if (bytes.byteLength > PURGE_BODY_BYTES_MAX) return bodyTooLarge();
      body = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return problem(400, "Bad Request", "the body is not JSON");
    }
    try {
      const { report, isNew } = await purges.create(body);
      const wait = context.req.query("wait") === "counted";
      const shown = wait ? ((await purges.counted(report.id)) ?? report) : report;
      return json(shown, isNew ? 201 : 200, { location: `/v1/purges/${report.id}` });
    } catch (error) {
      if (error instanceof ProximaError && error.code === "idempotency_conflict")
        return problem(409, "Conflict", error.message);
      if (error instanceof ProximaError && error.code === "purges_full")
        return problem(429, "Too Many Requests", error.message, {
          "retry-after": String(RETRY_AFTER_SECONDS),
        });
      throw error;
    }
  });
  app.get("/v1/purges", (context) => {
    const limit = Number(context.req.query("limit") ?? LIST_DEFAULT);
    const before = context.req.query("before");
    const valid =
      Number.isInteger(limit) && limit >= 1 && (before === undefined || /^\d{1,15}$/.test(before));
    if (!valid) return problem(400, "Bad Request", "limit is a whole number from 1 on, before a sequence");
    return json({ purges: purges.list(limit, before === undefined ? undefined : Number(before)) });
  });
  app.all("/v1/purges", () =>
    problem(405, "Method Not Allowed", "use GET, HEAD or POST", { allow: "GET, HEAD, POST" }),
  );
  app.get("/v1/purges/:id", async (context) => {
    const id = context.req.param("id");
    const report = context.req.query("wait") === "counted" ? await purges.counted(id) : purges.get(id);
    return report === null ? problem(404, "Not Found", "there is no purge with this id") : json(report);
  });
  app.all("/v1/purges/:id", () =>
    problem(405, "Method Not Allowed", "a purge is only read: use GET or HEAD", { allow: "GET, HEAD" }),
  );
}
