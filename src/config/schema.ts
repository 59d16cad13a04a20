/**
 * The config: one schema from which everything else is made. It parses and fills in defaults here;
 * `scripts/generate.ts` makes the JSON Schema, the reference page and the input types from it. What
 * spans several settings stands in checks.ts.
 */
import * as z from "zod";
import { alerts } from "./alerts-schema.ts";
import type { Immutable } from "./immutable.ts";
import { purges } from "./purges-schema.ts";
import { type cacheKey, type headerRules, names, siteSchema } from "./site-schema.ts";
import { tiers } from "./tiers-schema.ts";
import * as v from "./values.ts";
import { typeNames } from "./values.ts";

/** Address ranges and folders in one list. */
const RANGES_MAX = 5000;
/** NATS servers that a node is told of. */
const NATS_SERVERS_MAX = 32;

const listen = z
  .strictObject({
    http: v.address.optional().describe('Address for http, such as ":80". Left out: none.'),
    https: v.address
      .optional()
      .describe('Address for https, and for HTTP/3 over UDP, such as ":443". Left out: none.'),
    control: v.address
      .prefault("127.0.0.1:8081")
      .describe("Address of the control listener: health, metrics, explain, purges."),
    http3: z.boolean().prefault(true).describe("Offers HTTP/3 on the https address."),
    proxyProtocol: z
      .boolean()
      .prefault(false)
      .describe("Expects the PROXY protocol (v1 or v2) from trustedProxies on the http and https addresses."),
    tls: z
      .strictObject({
        certificates: z
          .array(
            z
              .strictObject({
                cert: v.filePath.describe("File of the certificate chain (PEM)."),
                key: v.filePath.describe("File of the private key (PEM)."),
                serverNames: names(v.serverNamePattern)
                  .optional()
                  .describe("Names it is used for. Left out: those in the certificate."),
              })
              .register(typeNames, { name: "CertificateInput" }),
          )
          .max(1000)
          .prefault([])
          .describe("Certificates. None: one of a local CA, made on the first start and kept in dataDir."),
        minVersion: z
          .enum(["1.2", "1.3"])
          .prefault("1.2")
          .describe("Oldest version of TLS that viewers may use."),
      })
      .register(typeNames, { name: "ListenTlsInput" })
      .prefault({})
      .describe("TLS towards viewers."),
  })
  .register(typeNames, { name: "ListenInput" });

const nodeShape = {
  $schema: z
    .string()
    .max(2048)
    .register(v.valueNotes, { allowed: "the URL or path of a JSON Schema" })
    .optional()
    .describe("For editors only: where the JSON Schema of this file is."),
  name: v.originName
    .prefault("Proxima")
    .describe("Name of this node in Via, Cache-Status and Proxy-Status, which viewers see."),
  listen: listen.prefault({}).describe("Where this node listens."),
  cache: z
    .strictObject({
      memory: v
        .size(2 ** 20, "1MiB", 2 ** 44, "16TiB")
        .prefault("256MiB")
        .describe("Most memory that stored answers take."),
      objectMax: v
        .size(1024, "1KiB", 2 ** 40, "1TiB")
        .prefault("32MiB")
        .describe("Largest object kept in memory; never more than cache.memory."),
      disk: z
        .strictObject({
          size: v
            .size(2 ** 26, "64MiB", 2 ** 50, "1PiB")
            .describe("Most room on disk that stored answers take, their index included."),
          path: v.filePath
            .optional()
            .describe("Folder for them, of this node alone. Left out: cache, in dataDir."),
        })
        .register(typeNames, { name: "DiskCacheInput" })
        .optional()
        .describe("Disk behind the memory: it outlives a restart and takes large objects. Left out: none."),
    })
    .register(typeNames, { name: "CacheInput" })
    .prefault({})
    .describe("The cache of this node."),
  workers: z
    .union([v.whole("workers", 1, 64), z.literal("auto")])
    .prefault("auto")
    .describe(
      "Processes that serve the ports together; cache.memory is divided among them. auto: one for each core.",
    ),
  dataDir: v.filePath
    .prefault("./.proxima")
    .describe("Folder for what the node keeps: its local CA, its purge log, its disk cache."),
  trustedProxies: z
    .array(v.cidr)
    .max(RANGES_MAX)
    .prefault([])
    .describe("Proxies in front of this node whose X-Forwarded-* and Forwarded fields are believed."),
  accessLog: z
    .strictObject({ file: v.filePath.describe('File to append to; "-" is the standard output.') })
    .register(typeNames, { name: "AccessLogInput" })
    .optional()
    .describe("Access log in JSON lines. Left out: none."),
  tiers: tiers.optional().describe("Shields that this node asks, and whether it is one. Left out: neither."),
  purges: purges
    .optional()
    .describe("Purges by PURGE, PURGEKEYS and BAN at the viewers' ports. Left out: from nobody."),
  alerts: alerts.optional().describe("Alerts of this node. Left out: none."),
  permitted: z
    .strictObject({
      directories: z
        .array(v.filePath)
        .max(RANGES_MAX)
        .optional()
        .describe("Folders that directory origins may lie in."),
      addresses: z
        .array(v.cidr)
        .max(RANGES_MAX)
        .optional()
        .describe("Addresses that origins may resolve to."),
      secretVariables: z
        .array(v.variableName)
        .max(RANGES_MAX)
        .optional()
        .describe("Environment variables that sites may take credentials from."),
      secretDirectories: z
        .array(v.filePath)
        .max(RANGES_MAX)
        .optional()
        .describe("Folders that files of credentials may lie in."),
    })
    .register(typeNames, { name: "PermittedInput" })
    .optional()
    .describe("What sites may reach. Left out: this file's own sites may name any."),
  join: z
    .strictObject({
      control: v.controlUrl.describe("URL of the control plane's API; http on loopback only."),
      name: v.nodeName.optional().describe("Name of this node in the fleet. Left out: the host name."),
      caFile: v.filePath
        .optional()
        .describe("File of the authorities (PEM) to trust for it. Left out: the well-known ones."),
      revalidateAfterSeconds: v
        .whole("seconds", 0, 86_400)
        .optional()
        .describe(
          "After so long without the fleet's log nothing stored is served without asking its origin. Left out: it is served on, marked as unsynced.",
        ),
      nats: z
        .strictObject({
          servers: z
            .array(v.natsUrl)
            .min(1)
            .max(NATS_SERVERS_MAX)
            .describe("NATS servers; one that is up is enough."),
          stream: v.natsName
            .prefault("proxima")
            .describe("Name of the fleet on the bus: its streams and subjects begin with it."),
          credentialsFile: v.filePath
            .optional()
            .describe("File of NATS credentials (.creds) of this node. Left out: none."),
          token: v.secretRef.optional().describe("Token that the servers ask for. Left out: none."),
          user: z
            .strictObject({
              name: v.natsUser.describe("User name that the servers ask for."),
              password: v.secretRef.describe("Its password."),
            })
            .register(typeNames, { name: "NatsUserInput" })
            .optional()
            .describe("User and password that the servers ask for. Left out: none."),
          caFile: v.filePath
            .optional()
            .describe(
              "File of the authorities (PEM) to trust for the servers. Left out: the well-known ones.",
            ),
        })
        .register(typeNames, { name: "NatsInput" })
        .optional()
        .describe(
          "NATS servers that carry the fleet's log. Left out: the log is read from the control plane.",
        ),
    })
    .register(typeNames, { name: "JoinInput" })
    .optional()
    .describe("The fleet that this node belongs to: its sites come from there, and stand not in this file."),
  limits: z
    .strictObject({
      requestBody: v
        .size(0, "0", 2 ** 44, "16TiB")
        .prefault("1GiB")
        .describe("Largest body of a request; more is answered 413."),
      requestHeaderBytes: v
        .size(1024, "1KiB", 16_384, "16KiB")
        .prefault("16KiB")
        .describe("Largest header of a request; more is answered 431."),
      drainSeconds: v
        .whole("seconds", 0, 3600)
        .prefault(30)
        .describe("How long accepted requests may take to end when the program is told to stop."),
    })
    .register(typeNames, { name: "LimitsInput" })
    .prefault({})
    .describe("Limits of this node."),
};

/** The node's own part, sites unread: parse.ts reads them one by one, so as not to stall requests. */
export const nodeSchema = z.strictObject({ ...nodeShape, sites: z.record(z.string(), z.unknown()) });

/** The whole config. */
export const configSchema = z
  .strictObject({
    ...nodeShape,
    sites: z.record(v.siteId, siteSchema).describe("Sites, by an id of your choice that never changes."),
  })
  .register(typeNames, { name: "ConfigInput" });

/** A parsed config: defaults filled in, sizes in bytes, hosts and field names in lower case. */
export type Config = Immutable<z.output<typeof configSchema>>;
/** The node's own part of a parsed config. */
export type NodeConfig = Omit<Config, "sites">;
/** A parsed site. */
export type SiteConfig = Config["sites"][string];
/** A parsed origin: `"url" in origin` tells an origin server from a directory and a bucket. */
export type OriginConfig = SiteConfig["origins"][string];
/** A parsed origin that is a storage bucket. */
export type BucketConfig = Extract<OriginConfig, { readonly deniedAsMissing: boolean }>;

/** A parsed origin that is a push zone. */
export type ZoneConfig = Extract<OriginConfig, { readonly zone: string }>;

/** A parsed group of origins. */
export type OriginGroupConfig = SiteConfig["originGroups"][string];
/** A parsed behaviour. */
export type BehaviorConfig = SiteConfig["behaviors"][number];
/** A parsed place among tiers. */
export type TiersConfig = NonNullable<Config["tiers"]>;
/** The parsed alerts of a node. */
export type AlertsConfig = NonNullable<Config["alerts"]>;
/** Who is told of alerts. */
export type AlertChannelConfig = AlertsConfig["channels"][string];
/** A program that is told. */
export type WebhookChannelConfig = Extract<AlertChannelConfig, { readonly webhook: unknown }>;
/** A chat that is told. */
export type SlackChannelConfig = Extract<AlertChannelConfig, { readonly slack: unknown }>;
/** People who are told by mail. */
export type EmailChannelConfig = Extract<AlertChannelConfig, { readonly email: unknown }>;
/** A parsed set of rules for header fields. */
export type HeaderRules = Immutable<z.output<typeof headerRules>>;
/** What is in a behaviour's cache key. */
export type CacheKeyConfig = Immutable<z.output<typeof cacheKey>>;
