/** `/v1/alerts` of a node's control listener: what fires, how the channels stand, and a test of them. */
import type { Hono } from "hono";
import * as z from "zod";
import { json, problem } from "../service/problem.ts";
import type { Alerts } from "./alerts/alerts.ts";

const testSchema = z.strictObject({ to: z.string().min(1).max(100).optional() });

/** Adds the routes. */
export function addAlertRoutes(app: Hono, alerts: Pick<Alerts, "status" | "test">): void {
  app.get("/v1/alerts", () => json(alerts.status()));
  app.all("/v1/alerts", () =>
    problem(405, "Method Not Allowed", "this resource is only read: use GET or HEAD", { allow: "GET, HEAD" }),
  );
  app.post("/v1/alerts/test", async (context) => {
    const body = testSchema.safeParse(await context.req.json().catch(() => null));
    if (!body.success) return problem(400, "Bad Request", 'the body must be {} or {"to": "NAME"}');
    return json({ results: await alerts.test(body.data.to ?? null) });
  });
  app.all("/v1/alerts/test", () => problem(405, "Method Not Allowed", "use POST", { allow: "POST" }));
}
