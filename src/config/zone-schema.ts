/** The schema of an origin that is a push zone of the fleet. */
import * as z from "zod";
import { connection } from "./connection-schema.ts";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

// Storage is the fleet's: how it is known is said where the node joins (join.caFile).
const { tls: _, ...settings } = connection;

/** An origin that is a push zone. */
export const zoneOrigin = z
  .strictObject({
    zone: v.zoneName.describe("Name of a push zone of the fleet; only nodes of a fleet can ask for one."),
    ...settings,
  })
  .register(typeNames, { name: "ZoneOriginInput" });
