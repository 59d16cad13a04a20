/** The schema of purges at the viewers' ports. Part of the one schema of the config (schema.ts). */
import * as z from "zod";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

const RANGES_MAX = 5_000;

/** Who may purge by PURGE, PURGEKEYS and BAN, and how a node of a fleet hands that on. */
export const purges = z
  .strictObject({
    from: z
      .array(v.cidr)
      .max(RANGES_MAX)
      .prefault([])
      .describe("Addresses of applications that may; none: such a request is answered 403."),
    token: v.secretRef
      .optional()
      .describe("In a fleet, a token of the control plane (scope purge) to hand them on with."),
  })
  .register(typeNames, { name: "PurgesInput" });
