/**
 * The config as a person writes it. Made from schema.ts by `npm run generate`: change it there.
 */

/** Settings: config. */
export interface ConfigInput {
  /**
   * For editors only: where the JSON Schema of this file is.
   * Allowed: the URL or path of a JSON Schema.
   */
  $schema?: string | undefined;
  /**
   * Name of this node in Via, Cache-Status and Proxy-Status, which viewers see.
   * Allowed: a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   * @default "Proxima"
   */
  name?: string | undefined;
  /**
   * Where this node listens.
   */
  listen?: ListenInput | undefined;
  /**
   * The cache of this node.
   */
  cache?: CacheInput | undefined;
  /**
   * Processes that serve the ports together; cache.memory is divided among them. auto: one for each core.
   * @default "auto"
   */
  workers?: number | "auto" | undefined;
  /**
   * Folder for what the node keeps: its local CA, its purge log, its disk cache.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   * @default "./.proxima"
   */
  dataDir?: string | undefined;
  /**
   * Proxies in front of this node whose X-Forwarded-* and Forwarded fields are believed.
   * Allowed: a list, each an IP address or range such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32".
   * @default []
   */
  trustedProxies?: string[] | undefined;
  /**
   * Access log in JSON lines. Left out: none.
   */
  accessLog?: AccessLogInput | undefined;
  /**
   * Shields that this node asks, and whether it is one. Left out: neither.
   */
  tiers?: TiersInput | undefined;
  /**
   * Purges by PURGE, PURGEKEYS and BAN at the viewers' ports. Left out: from nobody.
   */
  purges?: PurgesInput | undefined;
  /**
   * Alerts of this node. Left out: none.
   */
  alerts?: AlertsInput | undefined;
  /**
   * What sites may reach. Left out: this file's own sites may name any.
   */
  permitted?: PermittedInput | undefined;
  /**
   * The fleet that this node belongs to: its sites come from there, and stand not in this file.
   */
  join?: JoinInput | undefined;
  /**
   * Limits of this node.
   */
  limits?: LimitsInput | undefined;
  /**
   * Sites, by an id of your choice that never changes.
   */
  sites: Record<string, SiteInput>;
}

/** Settings: listen. */
export interface ListenInput {
  /**
   * Address for http, such as ":80". Left out: none.
   * Allowed: "host:port", ":port" or "[::1]:port", port 0 to 65535 (0 picks a free one).
   */
  http?: string | undefined;
  /**
   * Address for https, and for HTTP/3 over UDP, such as ":443". Left out: none.
   * Allowed: "host:port", ":port" or "[::1]:port", port 0 to 65535 (0 picks a free one).
   */
  https?: string | undefined;
  /**
   * Address of the control listener: health, metrics, explain, purges.
   * Allowed: "host:port", ":port" or "[::1]:port", port 0 to 65535 (0 picks a free one).
   * @default "127.0.0.1:8081"
   */
  control?: string | undefined;
  /**
   * Offers HTTP/3 on the https address.
   * @default true
   */
  http3?: boolean | undefined;
  /**
   * Expects the PROXY protocol (v1 or v2) from trustedProxies on the http and https addresses.
   * @default false
   */
  proxyProtocol?: boolean | undefined;
  /**
   * TLS towards viewers.
   */
  tls?: ListenTlsInput | undefined;
}

/** Settings: listen tls. */
export interface ListenTlsInput {
  /**
   * Certificates. None: one of a local CA, made on the first start and kept in dataDir.
   * @default []
   */
  certificates?: CertificateInput[] | undefined;
  /**
   * Oldest version of TLS that viewers may use.
   * @default "1.2"
   */
  minVersion?: "1.2" | "1.3" | undefined;
}

/** Settings: certificate. */
export interface CertificateInput {
  /**
   * File of the certificate chain (PEM).
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  cert: string;
  /**
   * File of the private key (PEM).
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  key: string;
  /**
   * Names it is used for. Left out: those in the certificate.
   * Allowed: a list, each a host name such as "shop.example" or "*.shop.example".
   */
  serverNames?: string[] | undefined;
}

/** Settings: cache. */
export interface CacheInput {
  /**
   * Most memory that stored answers take.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 1MiB to 16TiB.
   * @default "256MiB"
   */
  memory?: number | string | undefined;
  /**
   * Largest object kept in memory; never more than cache.memory.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 1KiB to 1TiB.
   * @default "32MiB"
   */
  objectMax?: number | string | undefined;
  /**
   * Disk behind the memory: it outlives a restart and takes large objects. Left out: none.
   */
  disk?: DiskCacheInput | undefined;
}

/** Settings: disk cache. */
export interface DiskCacheInput {
  /**
   * Most room on disk that stored answers take, their index included.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 64MiB to 1PiB.
   */
  size: number | string;
  /**
   * Folder for them, of this node alone. Left out: cache, in dataDir.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  path?: string | undefined;
}

/** Settings: access log. */
export interface AccessLogInput {
  /**
   * File to append to; "-" is the standard output.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  file: string;
}

/** Settings: tiers. */
export interface TiersInput {
  /**
   * Key by which edges and shields know each other: the same text on all of them, of at least 32 characters.
   */
  secret: { env: string } | { file: string };
  /**
   * One that is still accepted from edges, while all nodes change to the new one.
   */
  formerSecret?: { env: string } | { file: string } | undefined;
  /**
   * Answers edges that hold the secret: this node is a shield.
   * @default false
   */
  accept?: boolean | undefined;
  /**
   * Shields that this node can ask, by the names that sites have for them.
   * @default {}
   */
  shields?: Record<string, ShieldInput> | undefined;
}

/** Settings: shield. */
export interface ShieldInput {
  /**
   * URLs of its nodes; each key belongs to one of them, and the others stand for it.
   * Allowed: a list of at least one, each a URL "http(s)://host[:port]" without user, path, query and
   * fragment.
   */
  urls: string[];
  /**
   * TLS to the shield, where its URLs are https.
   */
  tls?: ShieldTlsInput | undefined;
}

/** Settings: shield tls. */
export interface ShieldTlsInput {
  /**
   * File of CA certificates (PEM) to trust instead of the system's.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  caFile?: string | undefined;
  /**
   * Name to ask for and to verify, instead of the URL's host.
   * Allowed: a host name such as "shop.example".
   */
  serverName?: string | undefined;
}

/** Settings: purges. */
export interface PurgesInput {
  /**
   * Addresses of applications that may; none: such a request is answered 403.
   * Allowed: a list, each an IP address or range such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32".
   * @default []
   */
  from?: string[] | undefined;
  /**
   * In a fleet, a token of the control plane (scope purge) to hand them on with.
   */
  token?: { env: string } | { file: string } | undefined;
}

/** Settings: alerts. */
export interface AlertsInput {
  /**
   * Name of this node in messages. Left out: the machine's host name.
   * Allowed: a text of 1 to 200 characters without control characters.
   */
  node?: string | undefined;
  /**
   * Who is told, by a name of your choice: a webhook, a chat, or people by e-mail.
   * @default {}
   */
  channels?: Record<string, WebhookChannelInput | SlackChannelInput | EmailChannelInput> | undefined;
  /**
   * How often the rules are looked at.
   * Allowed: a whole number of seconds from 1 to 3600.
   * @default 10
   */
  everySeconds?: number | undefined;
  /**
   * What still holds is told again after this. 0: it is not.
   * Allowed: a whole number of seconds from 0 to 604800.
   * @default 14400
   */
  reminderSeconds?: number | undefined;
  /**
   * What is watched.
   */
  rules?: AlertRulesInput | undefined;
}

/** Settings: webhook channel. */
export interface WebhookChannelInput {
  /**
   * URL that alerts are posted to, as JSON.
   */
  webhook: string | { env: string } | { file: string };
  /**
   * Key of the signature (Standard Webhooks, HMAC-SHA256): any text, or "whsec_" and base 64.
   */
  secret: { env: string } | { file: string };
}

/** Settings: slack channel. */
export interface SlackChannelInput {
  /**
   * Incoming webhook of Slack, or of a chat that takes the same JSON.
   */
  slack: string | { env: string } | { file: string };
}

/** Settings: email channel. */
export interface EmailChannelInput {
  /**
   * Addresses to write to.
   * Allowed: a list of at least one, each a mail address such as "ops@shop.example".
   */
  email: string[];
  /**
   * Address to write from.
   * Allowed: a mail address such as "ops@shop.example".
   */
  from: string;
  /**
   * The mail server.
   */
  smtp: SmtpInput;
}

/** Settings: smtp. */
export interface SmtpInput {
  /**
   * Host of the mail server.
   * Allowed: a host name such as "shop.example".
   */
  host: string;
  /**
   * Its port.
   * Allowed: a port from 1 to 65535.
   * @default 587
   */
  port?: number | undefined;
  /**
   * STARTTLS, which must succeed; TLS from the first byte (port 465); or none, for loopback only.
   * @default "starttls"
   */
  tls?: "starttls" | "implicit" | "none" | undefined;
  /**
   * File of CA certificates (PEM) to trust instead of the system's.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  caFile?: string | undefined;
  /**
   * User to log in as. Left out: no login.
   * Allowed: a text of 1 to 200 characters without control characters.
   */
  user?: string | undefined;
  /**
   * The user's password.
   */
  password?: { env: string } | { file: string } | undefined;
}

/** Settings: alert rules. */
export interface AlertRulesInput {
  /**
   * An origin is left out of its group, and is back.
   */
  failover?: FailoverRuleInput | undefined;
  /**
   * A certificate file is near its end.
   */
  certificate?: CertificateRuleInput | undefined;
  /**
   * The hit ratio of a site collapses.
   */
  hitRatio?: HitRatioRuleInput | undefined;
  /**
   * Viewers of a site get errors.
   */
  errorRate?: ErrorRateRuleInput | undefined;
}

/** Settings: failover rule. */
export interface FailoverRuleInput {
  /**
   * False: not watched.
   * @default true
   */
  enabled?: boolean | undefined;
  /**
   * So long it has to be so before it is told, and so long it has to be over.
   * Allowed: a whole number of seconds from 0 to 86400.
   * @default 0
   */
  holdSeconds?: number | undefined;
  /**
   * Channels that are told, by name. Left out: all of them.
   * Allowed: a list, each a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   */
  to?: string[] | undefined;
}

/** Settings: certificate rule. */
export interface CertificateRuleInput {
  /**
   * False: not watched.
   * @default true
   */
  enabled?: boolean | undefined;
  /**
   * Days before its end at which it is told.
   * Allowed: a whole number of days from 1 to 365.
   * @default 14
   */
  days?: number | undefined;
  /**
   * Channels that are told, by name. Left out: all of them.
   * Allowed: a list, each a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   */
  to?: string[] | undefined;
}

/** Settings: hit ratio rule. */
export interface HitRatioRuleInput {
  /**
   * False: not watched.
   * @default true
   */
  enabled?: boolean | undefined;
  /**
   * Told when a site's hit ratio is below this. 0: never.
   * Allowed: a number from 0 to 1.
   * @default 0
   */
  below?: number | undefined;
  /**
   * Told when it has lost this share of what is usual for the site. 1: never.
   * Allowed: a number from 0 to 1.
   * @default 0.5
   */
  dropFraction?: number | undefined;
  /**
   * The newest requests that are looked at.
   * Allowed: a whole number of seconds from 10 to 86400.
   * @default 300
   */
  windowSeconds?: number | undefined;
  /**
   * So long it has to be so before it is told, and so long it has to be over.
   * Allowed: a whole number of seconds from 0 to 86400.
   * @default 300
   */
  holdSeconds?: number | undefined;
  /**
   * With fewer requests in that time nothing is concluded.
   * Allowed: a whole number of requests from 1 to 1000000000.
   * @default 200
   */
  requestsMin?: number | undefined;
  /**
   * For these sites this is the limit, and what is usual does not count. 0: not watched.
   * @default {}
   */
  bySite?: Record<string, number> | undefined;
  /**
   * Channels that are told, by name. Left out: all of them.
   * Allowed: a list, each a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   */
  to?: string[] | undefined;
}

/** Settings: error rate rule. */
export interface ErrorRateRuleInput {
  /**
   * False: not watched.
   * @default true
   */
  enabled?: boolean | undefined;
  /**
   * Told when the share of a site's answers with a 5xx status is above this.
   * Allowed: a number from 0 to 1.
   * @default 0.05
   */
  above?: number | undefined;
  /**
   * The newest requests that are looked at.
   * Allowed: a whole number of seconds from 10 to 86400.
   * @default 300
   */
  windowSeconds?: number | undefined;
  /**
   * So long it has to be so before it is told, and so long it has to be over.
   * Allowed: a whole number of seconds from 0 to 86400.
   * @default 60
   */
  holdSeconds?: number | undefined;
  /**
   * With fewer requests in that time nothing is concluded.
   * Allowed: a whole number of requests from 1 to 1000000000.
   * @default 50
   */
  requestsMin?: number | undefined;
  /**
   * Limits of single sites. 1: not watched.
   * @default {}
   */
  bySite?: Record<string, number> | undefined;
  /**
   * Channels that are told, by name. Left out: all of them.
   * Allowed: a list, each a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   */
  to?: string[] | undefined;
}

/** Settings: permitted. */
export interface PermittedInput {
  /**
   * Folders that directory origins may lie in.
   * Allowed: a list, each a path of a file or folder; a relative one starts at the config file's folder.
   */
  directories?: string[] | undefined;
  /**
   * Addresses that origins may resolve to.
   * Allowed: a list, each an IP address or range such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32".
   */
  addresses?: string[] | undefined;
  /**
   * Environment variables that sites may take credentials from.
   * Allowed: a list, each a name of an environment variable: letters, digits and _, not beginning with a
   * digit.
   */
  secretVariables?: string[] | undefined;
  /**
   * Folders that files of credentials may lie in.
   * Allowed: a list, each a path of a file or folder; a relative one starts at the config file's folder.
   */
  secretDirectories?: string[] | undefined;
}

/** Settings: join. */
export interface JoinInput {
  /**
   * URL of the control plane's API; http on loopback only.
   * Allowed: a URL "https://host[:port]", or "http://127.0.0.1:port" on the same machine.
   */
  control: string;
  /**
   * Name of this node in the fleet. Left out: the host name.
   * Allowed: a name of 1 to 63 lower-case letters, digits, - and ..
   */
  name?: string | undefined;
  /**
   * File of the authorities (PEM) to trust for it. Left out: the well-known ones.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  caFile?: string | undefined;
  /**
   * After so long without the fleet's log nothing stored is served without asking its origin. Left out: it
   * is served on, marked as unsynced.
   * Allowed: a whole number of seconds from 0 to 86400.
   */
  revalidateAfterSeconds?: number | undefined;
  /**
   * NATS servers that carry the fleet's log. Left out: the log is read from the control plane.
   */
  nats?: NatsInput | undefined;
}

/** Settings: nats. */
export interface NatsInput {
  /**
   * NATS servers; one that is up is enough.
   * Allowed: a list of at least one, each a URL "nats://host:port", or "tls://host:port".
   */
  servers: string[];
  /**
   * Name of the fleet on the bus: its streams and subjects begin with it.
   * Allowed: a name of 1 to 32 letters, digits, - and _.
   * @default "proxima"
   */
  stream?: string | undefined;
  /**
   * File of NATS credentials (.creds) of this node. Left out: none.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  credentialsFile?: string | undefined;
  /**
   * Token that the servers ask for. Left out: none.
   */
  token?: { env: string } | { file: string } | undefined;
  /**
   * User and password that the servers ask for. Left out: none.
   */
  user?: NatsUserInput | undefined;
  /**
   * File of the authorities (PEM) to trust for the servers. Left out: the well-known ones.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  caFile?: string | undefined;
}

/** Settings: nats user. */
export interface NatsUserInput {
  /**
   * User name that the servers ask for.
   * Allowed: a name of 1 to 200 characters without spaces.
   */
  name: string;
  /**
   * Its password.
   */
  password: { env: string } | { file: string };
}

/** Settings: limits. */
export interface LimitsInput {
  /**
   * Largest body of a request; more is answered 413.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 0 to 16TiB.
   * @default "1GiB"
   */
  requestBody?: number | string | undefined;
  /**
   * Largest header of a request; more is answered 431.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 1KiB to 16KiB.
   * @default "16KiB"
   */
  requestHeaderBytes?: number | string | undefined;
  /**
   * How long accepted requests may take to end when the program is told to stop.
   * Allowed: a whole number of seconds from 0 to 3600.
   * @default 30
   */
  drainSeconds?: number | undefined;
}

/** Settings: site. */
export interface SiteInput {
  /**
   * Hosts the site answers for: "shop.example", "*.shop.example", or "*" for any.
   * Allowed: a list of at least one, each a host name such as "shop.example", "*.shop.example" or "*",
   * without scheme, port and path.
   */
  hosts: string[];
  /**
   * Where the content comes from, by a name of your choice. At least one.
   */
  origins: Record<string, OriginInput>;
  /**
   * Origins that stand for one another, by a name of your choice.
   * @default {}
   */
  originGroups?: Record<string, OriginGroupInput> | undefined;
  /**
   * What to do, by path; the first match wins. Left out: everything is asked of the only origin.
   */
  behaviors?: BehaviorInput[] | undefined;
  /**
   * Shields that misses are sent to, the preferred one first; where they are, each node knows
   * (tiers.shields). When none can answer, the origin is asked.
   * Allowed: a list, each a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   * @default []
   */
  shields?: string[] | undefined;
  /**
   * Redirects; the first match wins, before any behavior.
   * @default []
   */
  redirects?: RedirectInput[] | undefined;
  /**
   * Pages for errors, by status or class: {"404": {"path": "/404.html"}, "5xx": ...}.
   * @default {}
   */
  errorPages?: Record<string, ErrorPageInput> | undefined;
  /**
   * What a request of "/" is for, such as "index.html".
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  defaultDocument?: string | undefined;
  /**
   * This site's part of the cache in memory, which is divided among workers like cache.memory.
   */
  cache?: SiteCacheInput | undefined;
  /**
   * Ids by which clients of other CDNs' APIs know this site, such as a zone, a service or a distribution. It
   * always has its own id, and one that is made of it.
   * Allowed: a list, each 1 to 64 letters, digits, dots, hyphens and underscores.
   * @default []
   */
  vendorIds?: string[] | undefined;
  /**
   * Further fields of answers that say what X-Cache says, for programs that look for those of another CDN.
   * @default []
   */
  cacheStatusFields?: ("cf-cache-status" | "cdn-cache")[] | undefined;
  /**
   * Whether capitals count in tags. "insensitive" takes what arrives, and what is purged, in small letters.
   * @default "sensitive"
   */
  tagCase?: "sensitive" | "insensitive" | undefined;
  /**
   * Offers HTTP/3 for this site, where the node listens for it.
   * @default true
   */
  http3?: boolean | undefined;
  /**
   * Passes everything through, to see changes at once.
   * @default false
   */
  developmentMode?: boolean | undefined;
}

/** Settings: url origin. */
export interface UrlOriginInput {
  /**
   * URL of the origin server; a path in it is put before every path asked for.
   * Allowed: a URL "http(s)://host[:port][/prefix]" without user, query and fragment.
   */
  url: string;
  /**
   * What the Host field says: the host of the URL, the one the viewer asked for, or a name.
   * @default "origin"
   */
  hostHeader?: "origin" | "viewer" | { name: string } | undefined;
  /**
   * TLS to the origin.
   */
  tls?: OriginTlsInput | undefined;
  /**
   * How long to wait for the origin, in milliseconds.
   */
  timeouts?: TimeoutsInput | undefined;
  /**
   * Most connections to this origin at once.
   * Allowed: a whole number of connections from 1 to 65535.
   * @default 1024
   */
  connectionsMax?: number | undefined;
  /**
   * How long an idle connection is kept. 0 keeps none.
   * Allowed: a whole number of milliseconds from 0 to 3600000.
   * @default 60000
   */
  keepAliveMs?: number | undefined;
  /**
   * When an origin that fails is left out by the groups it is in, without any check.
   */
  ejection?: EjectionInput | undefined;
  /**
   * Limit of the requests at once. Left out: connectionsMax.
   */
  concurrency?: ConcurrencyInput | undefined;
  /**
   * Health checks. Left out: none.
   */
  health?: HealthInput | undefined;
  /**
   * What is done while the origin's answers say X-Origin-Status: degraded.
   */
  degraded?: DegradedInput | undefined;
}

/** Settings: origin tls. */
export interface OriginTlsInput {
  /**
   * File of CA certificates (PEM) to trust instead of the system's.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  caFile?: string | undefined;
  /**
   * Name to ask for and to verify, instead of the URL's host.
   * Allowed: a host name such as "shop.example".
   */
  serverName?: string | undefined;
  /**
   * False accepts any certificate. For tests only.
   * @default true
   */
  verify?: boolean | undefined;
}

/** Settings: timeouts. */
export interface TimeoutsInput {
  /**
   * Until a connection stands, TLS included.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 5000
   */
  connectMs?: number | undefined;
  /**
   * From the request sent until the answer's header is complete.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 30000
   */
  firstByteMs?: number | undefined;
  /**
   * Between two pieces of the answer's body.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 30000
   */
  betweenBytesMs?: number | undefined;
}

/** Settings: ejection. */
export interface EjectionInput {
  /**
   * Requests that fail in a row: no answer, an answer cut short, or a failing status.
   * Allowed: a whole number of requests from 1 to 1000000.
   * @default 5
   */
  failures?: number | undefined;
  /**
   * An answer that takes longer to begin counts as failed. Left out: none does.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   */
  slowMs?: number | undefined;
  /**
   * How long it is left out, the first time; twice as long each further time, up to 5 minutes. Then it is
   * tried with one request at a time.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 10000
   */
  forMs?: number | undefined;
}

/** Settings: concurrency. */
export interface ConcurrencyInput {
  /**
   * Most requests under way at once, of all processes of the node together.
   * Allowed: a whole number of requests from 1 to 65535.
   */
  max: number;
  /**
   * Requests that may wait; further ones are answered 503, or asked of the next of the group.
   * Allowed: a whole number of requests from 0 to 100000.
   * @default 1000
   */
  queueMax?: number | undefined;
  /**
   * How long a request may wait.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 1000
   */
  waitMs?: number | undefined;
}

/** Settings: health. */
export interface HealthInput {
  /**
   * Path that is asked for, below the path of the origin's URL.
   * Allowed: a path beginning with "/" such as "/errors/404.html".
   */
  path: string;
  /**
   * From one check to the next. One process of the node checks for all.
   * Allowed: a whole number of milliseconds from 100 to 3600000.
   * @default 10000
   */
  intervalMs?: number | undefined;
  /**
   * How long a check may take, its body included.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 5000
   */
  timeoutMs?: number | undefined;
  /**
   * Statuses that say that the origin is well.
   * @default ["2xx"]
   */
  statuses?: (number | "2xx" | "3xx" | "4xx" | "5xx")[] | undefined;
  /**
   * Failed checks in a row that make it down.
   * Allowed: a whole number of checks from 1 to 100.
   * @default 4
   */
  unhealthyAfter?: number | undefined;
  /**
   * Good checks in a row that make it up.
   * Allowed: a whole number of checks from 1 to 100.
   * @default 2
   */
  healthyAfter?: number | undefined;
}

/** Settings: degraded. */
export interface DegradedInput {
  /**
   * How long past its freshness an answer is used without asking.
   * Allowed: a whole number of seconds from 0 to 86400.
   * @default 60
   */
  freshSeconds?: number | undefined;
  /**
   * How long after that it is used while it is fetched anew, and instead of an error.
   * Allowed: a whole number of seconds from 0 to 86400.
   * @default 3600
   */
  staleSeconds?: number | undefined;
}

/** Settings: directory origin. */
export interface DirectoryOriginInput {
  /**
   * Folder whose files are served.
   * Allowed: a path of a file or folder; a relative one starts at the config file's folder.
   */
  directory: string;
  /**
   * File that is served for a folder.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   * @default "index.html"
   */
  index?: string | undefined;
}

/** Settings: zone origin. */
export interface ZoneOriginInput {
  /**
   * Name of a push zone of the fleet; only nodes of a fleet can ask for one.
   * Allowed: a zone's name: 3 to 63 lower-case letters, digits and -, beginning and ending with a letter or
   * digit.
   */
  zone: string;
  /**
   * How long to wait for the origin, in milliseconds.
   */
  timeouts?: TimeoutsInput | undefined;
  /**
   * Most connections to this origin at once.
   * Allowed: a whole number of connections from 1 to 65535.
   * @default 1024
   */
  connectionsMax?: number | undefined;
  /**
   * How long an idle connection is kept. 0 keeps none.
   * Allowed: a whole number of milliseconds from 0 to 3600000.
   * @default 60000
   */
  keepAliveMs?: number | undefined;
  /**
   * When an origin that fails is left out by the groups it is in, without any check.
   */
  ejection?: EjectionInput | undefined;
  /**
   * Limit of the requests at once. Left out: connectionsMax.
   */
  concurrency?: ConcurrencyInput | undefined;
}

/** Settings: s3origin. */
export interface S3OriginInput {
  /**
   * A bucket of Amazon S3, or of a store that speaks its protocol.
   */
  s3: S3Input;
  /**
   * Folder in the bucket that paths begin at. Left out: the bucket itself.
   * Allowed: a prefix of keys such as "site" or "releases/v1/", without "/" at its beginning, control
   * characters, empty parts, "." and ".." as parts.
   */
  keyPrefix?: string | undefined;
  /**
   * Document that answers for a path ending in "/", such as "index.html"; a path without that "/" is
   * redirected to it. Left out: none.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  index?: string | undefined;
  /**
   * Object whose content is sent with a 403 or 404. Left out: a line of text.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  errorDocument?: string | undefined;
  /**
   * Answers 404 where the store denies access (403): so it does for missing objects to whom may not list the
   * bucket.
   * @default false
   */
  deniedAsMissing?: boolean | undefined;
  /**
   * Entries of an object's own metadata that are given on as fields of the answer, such as surrogate-key.
   * Allowed: a list, each a header field name other than those that frame a message (connection,
   * content-length, expect, host, http2-settings, keep-alive, proxy-connection, te, trailer,
   * transfer-encoding, upgrade).
   * @default []
   */
  metadata?: string[] | undefined;
  /**
   * TLS to the origin.
   */
  tls?: OriginTlsInput | undefined;
  /**
   * How long to wait for the origin, in milliseconds.
   */
  timeouts?: TimeoutsInput | undefined;
  /**
   * Most connections to this origin at once.
   * Allowed: a whole number of connections from 1 to 65535.
   * @default 1024
   */
  connectionsMax?: number | undefined;
  /**
   * How long an idle connection is kept. 0 keeps none.
   * Allowed: a whole number of milliseconds from 0 to 3600000.
   * @default 60000
   */
  keepAliveMs?: number | undefined;
  /**
   * When an origin that fails is left out by the groups it is in, without any check.
   */
  ejection?: EjectionInput | undefined;
  /**
   * Limit of the requests at once. Left out: connectionsMax.
   */
  concurrency?: ConcurrencyInput | undefined;
}

/** Settings: s3. */
export interface S3Input {
  /**
   * The bucket's name.
   * Allowed: a bucket's name: 3 to 222 letters, digits, dots, - and _, beginning and ending with a letter or
   * digit.
   */
  bucket: string;
  /**
   * The bucket's region, as its store calls it.
   * Allowed: a region such as "eu-west-1" or "auto".
   */
  region: string;
  /**
   * URL of a store other than Amazon's, without the bucket.
   * Allowed: a URL "http(s)://host[:port][/prefix]" without user, query and fragment.
   */
  endpoint?: string | undefined;
  /**
   * Where the bucket stands in a URL: in the path or before the host. "auto": before Amazon's host, unless
   * its name has a dot, and in the path of any other endpoint.
   * @default "auto"
   */
  addressing?: "auto" | "path" | "virtual-host" | undefined;
  /**
   * Sends no credentials, to a bucket that anybody may read.
   * @default false
   */
  anonymous?: boolean | undefined;
  /**
   * Who asks.
   */
  credentials?: S3CredentialsInput | undefined;
}

/** Settings: s3credentials. */
export interface S3CredentialsInput {
  /**
   * The access key's id, or where it stands.
   * @default {"env":"AWS_ACCESS_KEY_ID"}
   */
  accessKeyId?: string | { env: string } | { file: string } | undefined;
  /**
   * Where the secret of the access key stands.
   * @default {"env":"AWS_SECRET_ACCESS_KEY"}
   */
  secretAccessKey?: { env: string } | { file: string } | undefined;
  /**
   * Where the token of temporary credentials stands. Left out: in AWS_SESSION_TOKEN, if that is set and
   * accessKeyId stands in AWS_ACCESS_KEY_ID.
   */
  sessionToken?: { env: string } | { file: string } | undefined;
}

/** Settings: gcs origin. */
export interface GcsOriginInput {
  /**
   * A bucket of Google Cloud Storage.
   */
  gcs: GcsInput;
  /**
   * Folder in the bucket that paths begin at. Left out: the bucket itself.
   * Allowed: a prefix of keys such as "site" or "releases/v1/", without "/" at its beginning, control
   * characters, empty parts, "." and ".." as parts.
   */
  keyPrefix?: string | undefined;
  /**
   * Document that answers for a path ending in "/", such as "index.html"; a path without that "/" is
   * redirected to it. Left out: none.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  index?: string | undefined;
  /**
   * Object whose content is sent with a 403 or 404. Left out: a line of text.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  errorDocument?: string | undefined;
  /**
   * Answers 404 where the store denies access (403): so it does for missing objects to whom may not list the
   * bucket.
   * @default false
   */
  deniedAsMissing?: boolean | undefined;
  /**
   * Entries of an object's own metadata that are given on as fields of the answer, such as surrogate-key.
   * Allowed: a list, each a header field name other than those that frame a message (connection,
   * content-length, expect, host, http2-settings, keep-alive, proxy-connection, te, trailer,
   * transfer-encoding, upgrade).
   * @default []
   */
  metadata?: string[] | undefined;
  /**
   * TLS to the origin.
   */
  tls?: OriginTlsInput | undefined;
  /**
   * How long to wait for the origin, in milliseconds.
   */
  timeouts?: TimeoutsInput | undefined;
  /**
   * Most connections to this origin at once.
   * Allowed: a whole number of connections from 1 to 65535.
   * @default 1024
   */
  connectionsMax?: number | undefined;
  /**
   * How long an idle connection is kept. 0 keeps none.
   * Allowed: a whole number of milliseconds from 0 to 3600000.
   * @default 60000
   */
  keepAliveMs?: number | undefined;
  /**
   * When an origin that fails is left out by the groups it is in, without any check.
   */
  ejection?: EjectionInput | undefined;
  /**
   * Limit of the requests at once. Left out: connectionsMax.
   */
  concurrency?: ConcurrencyInput | undefined;
}

/** Settings: gcs. */
export interface GcsInput {
  /**
   * The bucket's name.
   * Allowed: a bucket's name: 3 to 222 letters, digits, dots, - and _, beginning and ending with a letter or
   * digit.
   */
  bucket: string;
  /**
   * URL of the store's XML interface, without the bucket.
   * Allowed: a URL "http(s)://host[:port][/prefix]" without user, query and fragment.
   * @default "https://storage.googleapis.com"
   */
  endpoint?: string | undefined;
  /**
   * Sends no credentials, to a bucket that anybody may read.
   * @default false
   */
  anonymous?: boolean | undefined;
  /**
   * An HMAC key. Required unless anonymous.
   */
  credentials?: HmacKeyInput | undefined;
}

/** Settings: hmac key. */
export interface HmacKeyInput {
  /**
   * The access key's id, or where it stands.
   */
  accessKeyId: string | { env: string } | { file: string };
  /**
   * Where the secret of the access key stands.
   */
  secretAccessKey: { env: string } | { file: string };
}

/** Settings: azure origin. */
export interface AzureOriginInput {
  /**
   * A container of Azure Blob Storage.
   */
  azure: AzureInput;
  /**
   * Folder in the bucket that paths begin at. Left out: the bucket itself.
   * Allowed: a prefix of keys such as "site" or "releases/v1/", without "/" at its beginning, control
   * characters, empty parts, "." and ".." as parts.
   */
  keyPrefix?: string | undefined;
  /**
   * Document that answers for a path ending in "/", such as "index.html"; a path without that "/" is
   * redirected to it. Left out: none.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  index?: string | undefined;
  /**
   * Object whose content is sent with a 403 or 404. Left out: a line of text.
   * Allowed: a file name such as "index.html", without "/" at its beginning, "..", "?" and "#".
   */
  errorDocument?: string | undefined;
  /**
   * Answers 404 where the store denies access (403): so it does for missing objects to whom may not list the
   * bucket.
   * @default false
   */
  deniedAsMissing?: boolean | undefined;
  /**
   * Entries of an object's own metadata that are given on as fields of the answer, such as surrogate-key.
   * Allowed: a list, each a header field name other than those that frame a message (connection,
   * content-length, expect, host, http2-settings, keep-alive, proxy-connection, te, trailer,
   * transfer-encoding, upgrade).
   * @default []
   */
  metadata?: string[] | undefined;
  /**
   * TLS to the origin.
   */
  tls?: OriginTlsInput | undefined;
  /**
   * How long to wait for the origin, in milliseconds.
   */
  timeouts?: TimeoutsInput | undefined;
  /**
   * Most connections to this origin at once.
   * Allowed: a whole number of connections from 1 to 65535.
   * @default 1024
   */
  connectionsMax?: number | undefined;
  /**
   * How long an idle connection is kept. 0 keeps none.
   * Allowed: a whole number of milliseconds from 0 to 3600000.
   * @default 60000
   */
  keepAliveMs?: number | undefined;
  /**
   * When an origin that fails is left out by the groups it is in, without any check.
   */
  ejection?: EjectionInput | undefined;
  /**
   * Limit of the requests at once. Left out: connectionsMax.
   */
  concurrency?: ConcurrencyInput | undefined;
}

/** Settings: azure. */
export interface AzureInput {
  /**
   * The storage account.
   * Allowed: a storage account's name: 3 to 24 lower-case letters and digits.
   */
  account: string;
  /**
   * The container's name.
   * Allowed: a container's name: 3 to 63 lower-case letters, digits and single -, or "$web" or "$root".
   */
  container: string;
  /**
   * URL of the Blob service. Left out: https://ACCOUNT.blob.core.windows.net.
   * Allowed: a URL "http(s)://host[:port][/prefix]" without user, query and fragment.
   */
  endpoint?: string | undefined;
  /**
   * Sends no credentials, to a bucket that anybody may read.
   * @default false
   */
  anonymous?: boolean | undefined;
  /**
   * Who asks: one of the two. Required unless anonymous.
   */
  credentials?: AzureCredentialsInput | undefined;
}

/** Settings: azure credentials. */
export interface AzureCredentialsInput {
  /**
   * Where the account's key (Base64) stands.
   */
  accountKey?: { env: string } | { file: string } | undefined;
  /**
   * Where a shared access signature stands, with the right to read the container's blobs.
   */
  sas?: { env: string } | { file: string } | undefined;
}

/** Settings: origin. */
export type OriginInput =
  | UrlOriginInput
  | DirectoryOriginInput
  | ZoneOriginInput
  | S3OriginInput
  | GcsOriginInput
  | AzureOriginInput;

/** Settings: origin group. */
export interface OriginGroupInput {
  /**
   * Names of origins, or {origin, weight}; with failover the first that is well is asked.
   */
  members: (string | GroupMemberInput)[];
  /**
   * Who is asked: the first that is well, each in turn by weight, the one with the fewest requests under
   * way, or always the same one for a URL.
   * @default "failover"
   */
  balance?: "failover" | "weighted" | "least-connections" | "hash" | undefined;
  /**
   * What makes the next one be asked: statuses, "connect" (no connection, or no usable answer) and
   * "timeout".
   * @default [500,502,503,504,"connect","timeout"]
   */
  failoverOn?: (number | "connect" | "timeout")[] | undefined;
  /**
   * How long one may take until its answer begins while another one is well.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   * @default 10000
   */
  attemptTimeoutMs?: number | undefined;
  /**
   * Most origins asked for a request.
   * Allowed: a whole number of origins from 1 to 50.
   * @default 3
   */
  attemptsMax?: number | undefined;
  /**
   * Keeps retries from multiplying the load. To leave an origin that is down costs nothing.
   */
  retryBudget?: RetryBudgetInput | undefined;
}

/** Settings: group member. */
export interface GroupMemberInput {
  /**
   * Name of the origin.
   * Allowed: a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   */
  origin: string;
  /**
   * Its share, where requests are divided.
   * Allowed: a whole number of shares from 1 to 1000.
   * @default 1
   */
  weight?: number | undefined;
}

/** Settings: retry budget. */
export interface RetryBudgetInput {
  /**
   * Share of the requests that may be sent a second time.
   * Allowed: a number from 0 to 1.
   * @default 0.2
   */
  fraction?: number | undefined;
  /**
   * Requests a second that may be in any case, for each process of the node.
   * Allowed: a whole number of requests from 0 to 10000.
   * @default 10
   */
  perSecondMin?: number | undefined;
}

/** Settings: behavior. */
export interface BehaviorInput {
  /**
   * Pattern of the path: * stands for any characters, ? for one. The first match wins.
   * Allowed: a path pattern beginning with "/" or "*" such as "/static/*" (* any characters, ? one; at most
   * 9 *), without a query.
   */
  path: string;
  /**
   * Name of the origin or group to ask. Required unless there is only one to ask.
   * Allowed: a name of 1 to 63 letters, digits, - and _, not beginning with - or _.
   */
  origin?: string | undefined;
  /**
   * What to do with http: answer it, refuse it (403), or redirect it to https (301).
   * @default "allow-all"
   */
  viewerProtocol?: "allow-all" | "https-only" | "redirect-to-https" | undefined;
  /**
   * Request methods that are let through; others get 405. "read" is GET, HEAD and OPTIONS.
   * @default "all"
   */
  allowedMethods?: "read" | "all" | string[] | undefined;
  /**
   * Methods whose answers may be stored.
   * @default ["GET","HEAD"]
   */
  cachedMethods?: ("GET" | "HEAD" | "OPTIONS")[] | undefined;
  /**
   * False passes every request through and stores nothing.
   * @default true
   */
  cache?: boolean | undefined;
  /**
   * Lets viewers of one object wait for one request to the origin, instead of one each.
   * @default true
   */
  collapse?: boolean | undefined;
  /**
   * Limits of how long answers are fresh, in seconds.
   */
  ttlSeconds?: TtlSecondsInput | undefined;
  /**
   * Freshness by status, such as {"404": 10, "5xx": 0}, for answers without freshness of their own.
   * @default {}
   */
  statusTtlSeconds?: Record<string, number> | undefined;
  /**
   * Freshness at the edge, whatever the origin says.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   */
  edgeTtlSeconds?: number | undefined;
  /**
   * Freshness told to browsers (Cache-Control max-age), apart from the edge's.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   */
  browserTtlSeconds?: number | undefined;
  /**
   * How long a stale answer is served while a new one is fetched, where the origin says nothing.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   */
  staleWhileRevalidateSeconds?: number | undefined;
  /**
   * How long a stale answer is served while the origin fails, where the origin says nothing.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   */
  staleIfErrorSeconds?: number | undefined;
  /**
   * How long the origin is waited for where a stale answer could be served instead of an error. Left out:
   * until it answers or fails.
   * Allowed: a whole number of milliseconds from 1 to 3600000.
   */
  staleAfterMs?: number | undefined;
  /**
   * Lets s-maxage forbid stale answers, even beside stale-while-revalidate and stale-if-error.
   * @default false
   */
  strictSMaxage?: boolean | undefined;
  /**
   * Freshness of answers that have Last-Modified only (RFC 9111 section 4.2.2).
   */
  heuristic?: HeuristicInput | undefined;
  /**
   * What tells stored answers apart, beside site, scheme, host and path.
   */
  cacheKey?: CacheKeyInput | undefined;
  /**
   * Compresses texts with zstd, Brotli or gzip, as the viewer accepts.
   * @default true
   */
  compress?: boolean | undefined;
  /**
   * What of the viewer's request is sent to the origin.
   */
  forward?: ForwardInput | undefined;
  /**
   * Rules for the header of requests to the origin.
   */
  requestHeaders?: HeaderRulesInput | undefined;
  /**
   * Rules for the header of answers to viewers.
   */
  responseHeaders?: HeaderRulesInput | undefined;
  /**
   * Changes the path before the origin is asked; the first match wins.
   * @default []
   */
  rewrite?: RewriteInput[] | undefined;
  /**
   * A request that has one of these is passed through, and its answer not stored.
   */
  bypass?: BypassInput | undefined;
  /**
   * Stores answers to requests with Authorization as if they were for everyone. Dangerous.
   * @default false
   */
  storeAuthorized?: boolean | undefined;
  /**
   * Stores answers with Set-Cookie, without that field. Dangerous.
   * @default false
   */
  storeSetCookie?: boolean | undefined;
  /**
   * Most variants (Vary) kept of one object.
   * Allowed: a whole number of variants from 1 to 10000.
   * @default 64
   */
  maxVariants?: number | undefined;
}

/** Settings: ttl seconds. */
export interface TtlSecondsInput {
  /**
   * Keeps a storable answer at least so long, whatever the origin says.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   * @default 0
   */
  min?: number | undefined;
  /**
   * How long an answer without freshness of its own is fresh.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   */
  default?: number | undefined;
  /**
   * Keeps no answer longer than this.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   * @default 31536000
   */
  max?: number | undefined;
  /**
   * Shortens each object's freshness by up to this share, by its key, so that what was stored together does
   * not expire together.
   * Allowed: a number from 0 to 0.5.
   * @default 0
   */
  jitterFraction?: number | undefined;
}

/** Settings: heuristic. */
export interface HeuristicInput {
  /**
   * Part of the time since Last-Modified that an answer without freshness is fresh. 0 turns it off.
   * Allowed: a number from 0 to 1.
   * @default 0.1
   */
  fraction?: number | undefined;
  /**
   * Heuristic freshness is never longer than this.
   * Allowed: a whole number of seconds from 0 to 2147483647.
   * @default 3600
   */
  maxSeconds?: number | undefined;
}

/** Settings: cache key. */
export interface CacheKeyInput {
  /**
   * Query parameters in the key.
   * @default "all"
   */
  query?: "all" | "none" | { include: string[] } | { exclude: string[] } | undefined;
  /**
   * Leaves tracking parameters (utm_*, gclid, fbclid and the like) out of the key.
   * @default false
   */
  stripTracking?: boolean | undefined;
  /**
   * Sorts query parameters by name, so that their order makes no second object.
   * @default false
   */
  sortQuery?: boolean | undefined;
  /**
   * Request header fields in the key. Prefer the origin's Vary where you can.
   * Allowed: a list, each a header field name such as "x-frame-options".
   * @default []
   */
  headers?: string[] | undefined;
  /**
   * Cookies in the key, by name.
   * Allowed: a list, each a cookie name such as "session".
   * @default []
   */
  cookies?: string[] | undefined;
  /**
   * Keeps apart what desktop, mobile and tablet get, told by User-Agent and client hints.
   * @default false
   */
  device?: boolean | undefined;
  /**
   * Languages the site has, the first the default one: Accept-Language is matched to one of them, which is
   * in the key. False: not in the key.
   * @default false
   */
  language?: false | string[] | undefined;
}

/** Settings: forward. */
export interface ForwardInput {
  /**
   * Query parameters sent to the origin on cacheable requests: those in the cache key, or all. "all" lets a
   * viewer choose what others get (cache poisoning).
   * @default "key"
   */
  query?: "key" | "all" | undefined;
  /**
   * Request header fields sent to the origin.
   * @default "all"
   */
  headers?: "all" | { include: string[] } | { exclude: string[] } | undefined;
  /**
   * Cookies sent to the origin, by name or all or none. "auto" sends all, unless ttlSeconds.default or
   * edgeTtlSeconds is set.
   * @default "auto"
   */
  cookies?: "auto" | "all" | "none" | string[] | undefined;
}

/** Settings: header rules. */
export interface HeaderRulesInput {
  /**
   * Fields to set: name and value; lines of the same name are replaced.
   * @default {}
   */
  set?: Record<string, string> | undefined;
  /**
   * Fields to add beside lines of the same name.
   * @default {}
   */
  append?: Record<string, string> | undefined;
  /**
   * Names of fields to take out. Done first.
   * Allowed: a list, each a header field name other than those that frame a message (connection,
   * content-length, expect, host, http2-settings, keep-alive, proxy-connection, te, trailer,
   * transfer-encoding, upgrade).
   * @default []
   */
  remove?: string[] | undefined;
}

/** Settings: rewrite. */
export interface RewriteInput {
  /**
   * Pattern of the path.
   * Allowed: a path pattern beginning with "/" or "*" such as "/static/*" (* any characters, ? one; at most
   * 9 *), without a query.
   */
  match: string;
  /**
   * The path to ask the origin for; $1 to $9 are what the pattern's * stood for.
   * Allowed: a path beginning with "/" such as "/v2/$1" (it may hold $1 to $9).
   */
  to: string;
}

/** Settings: bypass. */
export interface BypassInput {
  /**
   * Cookies, by name.
   * Allowed: a list, each a cookie name such as "session".
   * @default []
   */
  cookies?: string[] | undefined;
  /**
   * Request header fields, by name.
   * Allowed: a list, each a header field name such as "x-frame-options".
   * @default []
   */
  headers?: string[] | undefined;
  /**
   * Query parameters, by name.
   * Allowed: a list, each a name of a query parameter such as "page".
   * @default []
   */
  queryParameters?: string[] | undefined;
}

/** Settings: redirect. */
export interface RedirectInput {
  /**
   * Pattern of the host. Left out: any.
   * Allowed: a host name such as "shop.example", "*.shop.example" or "*", without scheme, port and path.
   */
  host?: string | undefined;
  /**
   * Pattern of the path. Left out: any.
   * Allowed: a path pattern beginning with "/" or "*" such as "/static/*" (* any characters, ? one; at most
   * 9 *), without a query.
   */
  path?: string | undefined;
  /**
   * Where to: URL or path. $scheme, $host, $path and $query (with its ?) are the request's; $1 to $9 are
   * what the path pattern's * stood for.
   * Allowed: a URL or a path such as "https://shop.example$path$query" or "/new/$1" (it begins with "/",
   * "http://", "https://" or "$scheme://", and may hold $scheme, $host, $path, $query and $1 to $9).
   */
  to: string;
  /**
   * Status of the answer.
   * @default 301
   */
  status?: 301 | 302 | 303 | 307 | 308 | undefined;
}

/** Settings: error page. */
export interface ErrorPageInput {
  /**
   * Path of the page, asked of the site itself.
   * Allowed: a path beginning with "/" such as "/errors/404.html".
   */
  path: string;
  /**
   * Status to answer with. Left out: the error's own.
   * Allowed: a whole number of status from 200 to 599.
   */
  status?: number | undefined;
}

/** Settings: site cache. */
export interface SiteCacheInput {
  /**
   * Most of cache.memory that this site's answers take. Left out: all of it.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 1MiB to 16TiB.
   */
  memoryMax?: number | string | undefined;
  /**
   * Memory that other sites' answers never push this site's out of; what it does not use, others may. All
   * sites' together are not more than cache.memory.
   * Allowed: a number of bytes or a text such as "64KiB", "256MiB" or "1GB", from 1MiB to 16TiB.
   */
  memoryReserved?: number | string | undefined;
}
