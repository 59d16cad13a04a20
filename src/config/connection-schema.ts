/** Settings of the connections to a server: the same for every origin that is asked over the network. */
import * as z from "zod";
import { concurrency, ejection } from "./group-schema.ts";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

const HOUR_MS = 3_600_000;
const milliseconds = () => v.whole("milliseconds", 1, HOUR_MS);

/** TLS, time limits, the pool, and what is done when it fails or is asked too much. */
export const connection = {
  tls: z
    .strictObject({
      caFile: v.filePath
        .optional()
        .describe("File of CA certificates (PEM) to trust instead of the system's."),
      serverName: v.hostName.optional().describe("Name to ask for and to verify, instead of the URL's host."),
      verify: z.boolean().prefault(true).describe("False accepts any certificate. For tests only."),
    })
    .register(typeNames, { name: "OriginTlsInput" })
    .prefault({})
    .describe("TLS to the origin."),
  timeouts: z
    .strictObject({
      connectMs: milliseconds().prefault(5000).describe("Until a connection stands, TLS included."),
      firstByteMs: milliseconds()
        .prefault(30_000)
        .describe("From the request sent until the answer's header is complete."),
      betweenBytesMs: milliseconds().prefault(30_000).describe("Between two pieces of the answer's body."),
    })
    .register(typeNames, { name: "TimeoutsInput" })
    .prefault({})
    .describe("How long to wait for the origin, in milliseconds."),
  connectionsMax: v
    .whole("connections", 1, 65_535)
    .prefault(1024)
    .describe("Most connections to this origin at once."),
  keepAliveMs: v
    .whole("milliseconds", 0, HOUR_MS)
    .prefault(60_000)
    .describe("How long an idle connection is kept. 0 keeps none."),
  ejection: ejection
    .prefault({})
    .describe("When an origin that fails is left out by the groups it is in, without any check."),
  concurrency: concurrency.optional().describe("Limit of the requests at once. Left out: connectionsMax."),
};
