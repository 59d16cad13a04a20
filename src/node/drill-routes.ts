/** `/v1/drills` of a node's control listener. */
import type { Hono } from "hono";
import { ProximaError } from "../base/errors.ts";
import { json, problem } from "../service/problem.ts";
import type { DrillService } from "./drill-service.ts";

/** Largest body of a request for a drill, in bytes. */
const BODY_BYTES_MAX = 16 * 1_024;

/** Adds the routes. */
export function addDrillRoutes(app: Hono, drills: DrillService): void {
  app.post("/v1/drills", async (context) => {
    let body: unknown;
    try {
      const bytes = await context.req.arrayBuffer();
      if (bytes.byteLength > BODY_BYTES_MAX)
        return problem(413, "Content Too Large", `a body has ${BODY_BYTES_MAX} bytes at most`);
      body = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return problem(400, "Bad Request", "the body is not JSON");
    }
    try {
      const report = await drills.start(body);
      return json(report, 201, { location: `/v1/drills/${report.id}` });
    } catch (error) {
      if (error instanceof ProximaError && error.code === "drill_conflict")
        return problem(409, "Conflict", error.message);
      throw error;
    }
  });
  app.all("/v1/drills", () => problem(405, "Method Not Allowed", "use POST", { allow: "POST" }));
  const shown = (report: Awaited<ReturnType<DrillService["get"]>>) =>
    report === null ? problem(404, "Not Found", "there is no drill with this id") : json(report);
  app.get("/v1/drills/:id", async (context) => shown(await drills.get(context.req.param("id"))));
  app.delete("/v1/drills/:id", async (context) => shown(await drills.stop(context.req.param("id"))));
  app.all("/v1/drills/:id", () =>
    problem(405, "Method Not Allowed", "use GET, HEAD or DELETE", { allow: "GET, HEAD, DELETE" }),
  );
}
