/** The schema of a node's place among tiers: whom it asks as its shields, and whether edges may ask it. Part of the one schema of the config (schema.ts). */
import * as z from "zod";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

const NODES_MAX = 64;

const shield = z
  .strictObject({
    urls: z
      .array(v.nodeUrl)
      .min(1)
      .max(NODES_MAX)
      .describe("URLs of its nodes; each key belongs to one of them, and the others stand for it."),
    tls: z
      .strictObject({
        caFile: v.filePath
          .optional()
          .describe("File of CA certificates (PEM) to trust instead of the system's."),
        serverName: v.hostName
          .optional()
          .describe("Name to ask for and to verify, instead of the URL's host."),
      })
      .register(typeNames, { name: "ShieldTlsInput" })
      .prefault({})
      .describe("TLS to the shield, where its URLs are https."),
  })
  .register(typeNames, { name: "ShieldInput" });

/** A node's place among tiers. */
export const tiers = z
  .strictObject({
    secret: v.secretRef.describe(
      "Key by which edges and shields know each other: the same text on all of them, of at least 32 characters.",
    ),
    formerSecret: v.secretRef
      .optional()
      .describe("One that is still accepted from edges, while all nodes change to the new one."),
    accept: z
      .boolean()
      .prefault(false)
      .describe("Answers edges that hold the secret: this node is a shield."),
    shields: z
      .record(v.originName, shield)
      .prefault({})
      .describe("Shields that this node can ask, by the names that sites have for them."),
  })
  .register(typeNames, { name: "TiersInput" });
