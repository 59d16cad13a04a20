/** `/v1/alerts` of a node's control listener: what fires, how the channels stand, and a test of them. */
import type { Hono } from "hono";
import { json, problem } from "../service/problem.ts";
import type { Alerts } from "./alerts/alerts.ts";

const NAME_CHARS_MAX = 100;

/** Adds the routes. */
export function addAlertRoutes(app: Hono, alerts: Pick<Alerts, "status" | "test">): void {
  app.get("/v1/alerts", () => json(alerts.status()));
  app.all("/v1/alerts", () =>
    problem(405, "Method Not Allowed", "this resource is only read: use GET or HEAD", { allow: "GET, HEAD" }),
  );
  app.post("/v1/alerts/test", async (context) => {
    const to = channelIn(await context.req.json().catch(() => null));
    if (to === undefined) return problem(400, "Bad Request", 'the body must be {} or {"to": "NAME"}');
    return json({ results: await alerts.test(to) });
  });
  app.all("/v1/alerts/test", () => problem(405, "Method Not Allowed", "use POST", { allow: "POST" }));
}

/** The channel that a body names; null for all of them, undefined when it is not such a body. */
function channelIn(body: unknown): string | null | undefined {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return undefined;
  const [member, ...others] = Object.entries(body);
  if (member === undefined) return null;
  const [name, to] = member;
  const isChannel = typeof to === "string" && to !== "" && to.length <= NAME_CHARS_MAX;
  return name === "to" && others.length === 0 && isChannel ? to : undefined;
}
