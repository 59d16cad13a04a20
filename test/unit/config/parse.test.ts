import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { generatedFiles } from "../../../scripts/generate.ts";
import { parseConfig, parseSteps, type SiteMemory } from "../../../src/config/parse.ts";
import { formatProblems } from "../../../src/config/problems.ts";
import type { Config } from "../../../src/config/schema.ts";
import { BAD_BUCKETS } from "./bad-buckets.ts";

const SITE = { hosts: ["shop.example"], origins: { app: { url: "http://app.example" } } };

/** A config with one site; settings of site, behaviour and origin replace the usual ones. */
function siteWith(site: object): unknown {
  return { sites: { shop: { ...SITE, ...site } } };
}
function behaviorWith(behavior: object): unknown {
  return siteWith({ behaviors: [{ path: "/*", ...behavior }] });
}
function originWith(origin: object): unknown {
  return siteWith({ origins: { app: { url: "http://app.example", ...origin } } });
}
const HOOK = { webhook: "https://hooks.example/a", secret: { env: "HOOK_SECRET" } };
const MAIL = { email: ["ops@shop.example"], from: "edge@shop.example", smtp: { host: "mail.shop.example" } };
function joinWith(nats: object): unknown {
  return { join: { control: "https://c", nats }, sites: {} };
}
function alertsWith(alerts: object): unknown {
  return { alerts: { channels: { ops: HOOK }, ...alerts }, sites: {} };
}
function mailWith(channel: object): unknown {
  return alertsWith({ channels: { mail: { ...MAIL, ...channel } } });
}
function smtpWith(smtp: object): unknown {
  return mailWith({ smtp: { ...MAIL.smtp, ...smtp } });
}
function groupWith(group: object): unknown {
  return siteWith({
    originGroups: { both: { members: ["app"], ...group } },
    behaviors: [{ path: "/*", origin: "both" }],
  });
}
function tiersWith(tiers: object): unknown {
  return { tiers: { secret: { env: "TIER_SECRET" }, ...tiers }, sites: {} };
}
function shieldWith(shield: object): unknown {
  return tiersWith({ shields: { fra: { urls: ["http://fra.example"], ...shield } } });
}
function valid(value: unknown): Config {
  const result = parseConfig(value);
  if (!result.ok) throw new Error(formatProblems("config", result.problems));
  return result.config;
}
/** Errors as lines `path: message`. */
function errorsOf(value: unknown): string[] {
  const result = parseConfig(value);
  return result.ok
    ? []
    : result.problems.filter((one) => one.severity === "error").map((one) => `${one.path}: ${one.message}`);
}
function warningsOf(value: unknown): string[] {
  const result = parseConfig(value);
  return (result.ok ? result.warnings : result.problems)
    .filter((one) => one.severity === "warning")
    .map((one) => `${one.path}: ${one.message}`);
}

describe("defaults", () => {
  test("a site needs no more than a host and an origin", () => {
    const config = valid({ sites: { shop: SITE } });
    expect(config.listen).toEqual({
      control: "127.0.0.1:8081",
      http3: true,
      proxyProtocol: false,
      tls: { certificates: [], minVersion: "1.2" },
    });
    expect(config.cache).toEqual({ memory: 256 * 2 ** 20, objectMax: 32 * 2 ** 20 });
    expect(config.limits).toEqual({ requestBody: 2 ** 30, requestHeaderBytes: 16_384, drainSeconds: 30 });
    expect(config.dataDir).toBe("./.proxima");
    expect(config.accessLog).toBeUndefined();
    const site = config.sites.shop;
    expect(site?.behaviors).toHaveLength(1);
    expect(site?.behaviors[0]).toEqual({
      path: "/*",
      origin: "app",
      viewerProtocol: "allow-all",
      allowedMethods: "all",
      cachedMethods: ["GET", "HEAD"],
      cache: true,
      collapse: true,
      ttlSeconds: { min: 0, max: 31_536_000, jitterFraction: 0 },
      statusTtlSeconds: {},
      strictSMaxage: false,
      heuristic: { fraction: 0.1, maxSeconds: 3600 },
      cacheKey: {
        query: "all",
        stripTracking: false,
        sortQuery: false,
        headers: [],
        cookies: [],
        device: false,
        language: false,
      },
      compress: true,
      forward: { query: "key", headers: "all", cookies: "auto" },
      requestHeaders: { set: {}, append: {}, remove: [] },
      responseHeaders: { set: {}, append: {}, remove: [] },
      rewrite: [],
      bypass: { cookies: [], headers: [], queryParameters: [] },
      storeAuthorized: false,
      storeSetCookie: false,
      maxVariants: 64,
    });
    expect(site?.origins.app).toEqual({
      url: "http://app.example",
      hostHeader: "origin",
      tls: { verify: true },
      timeouts: { connectMs: 5000, firstByteMs: 30_000, betweenBytesMs: 30_000 },
      connectionsMax: 1024,
      keepAliveMs: 60_000,
      ejection: { failures: 5, forMs: 10_000 },
      degraded: { freshSeconds: 60, staleSeconds: 3600 },
    });
  });

  test("a directory origin has an index", () => {
    const config = valid(siteWith({ origins: { files: { directory: "./public" } } }));
    expect(config.sites.shop?.origins.files).toEqual({ directory: "./public", index: "index.html" });
  });

  test("hosts, names of fields and sizes come in one form", () => {
    const config = valid({
      cache: { memory: "1GB" },
      sites: {
        shop: {
          ...SITE,
          hosts: ["Shop.EXAMPLE", "*.Bücher.example"],
          behaviors: [
            {
              path: "/*",
              cacheKey: { headers: ["X-Tenant"] },
              responseHeaders: { set: { "X-Frame-Options": "DENY" } },
            },
          ],
        },
      },
    });
    const site = config.sites.shop;
    expect(config.cache.memory).toBe(1_000_000_000);
    expect(site?.hosts).toEqual(["shop.example", "*.xn--bcher-kva.example"]);
    expect(site?.behaviors[0]?.cacheKey.headers).toEqual(["x-tenant"]);
    expect(site?.behaviors[0]?.responseHeaders.set).toEqual({ "x-frame-options": "DENY" });
  });

  test("an object may not be larger than the memory that holds it", () => {
    expect(valid({ cache: { memory: "16MiB" }, sites: { shop: SITE } }).cache.objectMax).toBe(16 * 2 ** 20);
  });
});

// Every setting with a value it does not take: [config, path, part of what is said to be allowed].
const BAD: [unknown, string, string][] = [
  [null, "", "must be an object"],
  [[], "", "must be an object"],
  ["x", "", "must be an object"],
  [{}, "sites", "is missing"],
  [{ $schema: 1, sites: {} }, "$schema", "a JSON Schema"],
  [{ sites: [] }, "sites", "an object"],
  [{ sites: { shop: 1 } }, "sites.shop", "an object"],
  [{ sites: { Shop: SITE } }, "sites.Shop", "lower-case letters"],
  [{ sites: { "-a": SITE } }, "sites.-a", "lower-case letters"],
  [{ listen: 1, sites: {} }, "listen", "an object"],
  [{ listen: { http: 80 }, sites: {} }, "listen.http", '":port"'],
  [{ listen: { http: "80" }, sites: {} }, "listen.http", '":port"'],
  [{ listen: { https: ":99999" }, sites: {} }, "listen.https", "0 to 65535"],
  [{ listen: { control: "" }, sites: {} }, "listen.control", '":port"'],
  [{ listen: { http3: "yes" }, sites: {} }, "listen.http3", "true or false"],
  [{ listen: { proxyProtocol: 1 }, sites: {} }, "listen.proxyProtocol", "true or false"],
  [{ listen: { proxyProtocol: true }, sites: {} }, "listen.proxyProtocol", "trustedProxies"],
  [{ listen: { http: ":80", https: ":80" }, sites: {} }, "listen.https", "same port as listen.http"],
  [{ listen: { http: ":8081" }, sites: {} }, "listen.control", "same port as listen.http"],
  [{ listen: { tls: { minVersion: "1.1" } }, sites: {} }, "listen.tls.minVersion", '"1.2" or "1.3"'],
  [{ listen: { tls: { minVersion: 1.3 } }, sites: {} }, "listen.tls.minVersion", "in quotes"],
  [{ listen: { tls: { certificates: {} } }, sites: {} }, "listen.tls.certificates", "a list"],
  [
    { listen: { tls: { certificates: [{ cert: "c" }] } }, sites: {} },
    "listen.tls.certificates[0].key",
    "is missing",
  ],
  [
    { listen: { tls: { certificates: [{ cert: 1, key: "k" }] } }, sites: {} },
    "listen.tls.certificates[0].cert",
    "a path",
  ],
  [
    { listen: { tls: { certificates: [{ cert: "c", key: "k", serverNames: ["a/b"] }] } }, sites: {} },
    "listen.tls.certificates[0].serverNames[0]",
    "a host name",
  ],
  [{ cache: { memory: "256M" }, sites: {} }, "cache.memory", '"256MiB"'],
  [{ cache: { memory: 100 }, sites: {} }, "cache.memory", "from 1MiB"],
  [{ cache: { objectMax: true }, sites: {} }, "cache.objectMax", "a number of bytes"],
  [{ cache: { disk: "100GiB" }, sites: {} }, "cache.disk", "an object"],
  [{ cache: { disk: {} }, sites: {} }, "cache.disk.size", "is missing"],
  [{ cache: { disk: { size: "10MiB" } }, sites: {} }, "cache.disk.size", "from 64MiB"],
  [{ cache: { disk: { size: "1GiB", path: "" } }, sites: {} }, "cache.disk.path", "a path"],
  [{ dataDir: "", sites: {} }, "dataDir", "a path"],
  [{ trustedProxies: ["10.0.0.0/33"], sites: {} }, "trustedProxies[0]", '"10.0.0.0/8"'],
  [{ trustedProxies: ["10.1"], sites: {} }, "trustedProxies[0]", '"10.0.0.0/8"'],
  [{ trustedProxies: ["::1/129"], sites: {} }, "trustedProxies[0]", "an IP address or range"],
  [{ accessLog: true, sites: {} }, "accessLog", "{file}"],
  [{ accessLog: {}, sites: {} }, "accessLog.file", "is missing"],
  [{ permitted: { directories: "x" }, sites: {} }, "permitted.directories", "a list"],
  [{ permitted: { addresses: ["host"] }, sites: {} }, "permitted.addresses[0]", "an IP address or range"],
  [
    { permitted: { secretVariables: ["A-B"] }, sites: {} },
    "permitted.secretVariables[0]",
    "letters, digits and _",
  ],
  [{ permitted: { secretDirectories: "x" }, sites: {} }, "permitted.secretDirectories", "a list"],
  [{ join: {}, sites: {} }, "join.control", "is missing"],
  [{ join: { control: "http://control.example" }, sites: {} }, "join.control", "https://host"],
  [{ join: { control: "https://control.example/v1" }, sites: {} }, "join.control", "https://host"],
  [{ join: { control: "https://c", name: "A b" }, sites: {} }, "join.name", "lower-case letters"],
  [{ join: { control: "https://c", caFile: "" }, sites: {} }, "join.caFile", "a path"],
  [
    { join: { control: "https://c", revalidateAfterSeconds: -1 }, sites: {} },
    "join.revalidateAfterSeconds",
    "from 0 to 86400",
  ],
  [joinWith({}), "join.nats.servers", "is missing"],
  [joinWith({ servers: [] }), "join.nats.servers", "at least one"],
  [joinWith({ servers: ["nats://u:p@host:4222"] }), "join.nats.servers[0]", "nats://host:port"],
  [joinWith({ servers: ["http://host"] }), "join.nats.servers[0]", "nats://host:port"],
  [joinWith({ servers: ["tls://h"], stream: "a.b" }), "join.nats.stream", "letters, digits, - and _"],
  [joinWith({ servers: ["tls://h"], credentialsFile: "" }), "join.nats.credentialsFile", "a path"],
  [joinWith({ servers: ["tls://h"], token: "s3cret" }), "join.nats.token", '{"env"'],
  [
    joinWith({ servers: ["tls://h"], user: { name: "a b", password: { env: "P" } } }),
    "join.nats.user.name",
    "without spaces",
  ],
  [
    joinWith({ servers: ["tls://h"], user: { name: "a", password: "s3cret" } }),
    "join.nats.user.password",
    '{"env"',
  ],
  [joinWith({ servers: ["tls://h"], caFile: "" }), "join.nats.caFile", "a path"],
  [
    {
      join: { control: "https://c" },
      sites: { a: { hosts: ["a.test"], origins: { o: { url: "http://o.test" } } } },
    },
    "sites",
    "come from the control plane",
  ],
  [{ limits: { requestBody: "lots" }, sites: {} }, "limits.requestBody", "a number of bytes"],
  [{ limits: { requestHeaderBytes: "1MiB" }, sites: {} }, "limits.requestHeaderBytes", "from 1KiB to 16KiB"],
  [{ limits: { drainSeconds: 1.5 }, sites: {} }, "limits.drainSeconds", "from 0 to 3600"],
  [{ alerts: true, sites: {} }, "alerts", "{node, channels, everySeconds, reminderSeconds, rules}"],
  [alertsWith({ node: "" }), "alerts.node", "a text of 1 to 200"],
  [alertsWith({ channels: [] }), "alerts.channels", "an object"],
  [alertsWith({ channels: { "a b": HOOK } }), 'alerts.channels["a b"]', "letters, digits"],
  [alertsWith({ channels: { ops: {} } }), "alerts.channels.ops", '"webhook", "slack" or "email"'],
  [alertsWith({ channels: { ops: { ...HOOK, slack: "https://a" } } }), "alerts.channels.ops", "exactly one"],
  [
    alertsWith({ channels: { ops: { ...HOOK, webhook: "hooks.example" } } }),
    "alerts.channels.ops.webhook",
    "http(s)",
  ],
  [
    alertsWith({ channels: { ops: { ...HOOK, secret: "s3cret" } } }),
    "alerts.channels.ops.secret",
    '{"env": "NAME"}',
  ],
  [
    alertsWith({ channels: { chat: { slack: "https://u:p@a" } } }),
    "alerts.channels.chat.slack",
    "without user",
  ],
  [mailWith({ email: "a@b" }), "alerts.channels.mail.email", "a list of at least one"],
  [mailWith({ email: ["a b@c"] }), "alerts.channels.mail.email[0]", "a mail address"],
  [mailWith({ from: "Proxima <a@b>" }), "alerts.channels.mail.from", "a mail address"],
  [mailWith({ smtp: 25 }), "alerts.channels.mail.smtp", "{host, port, tls, caFile, user, password}"],
  [smtpWith({ host: "a:25" }), "alerts.channels.mail.smtp.host", "a host name"],
  [smtpWith({ port: 0 }), "alerts.channels.mail.smtp.port", "from 1 to 65535"],
  [smtpWith({ tls: "yes" }), "alerts.channels.mail.smtp.tls", '"starttls", "implicit" or "none"'],
  [smtpWith({ caFile: 1 }), "alerts.channels.mail.smtp.caFile", "a path"],
  [smtpWith({ user: "" }), "alerts.channels.mail.smtp.user", "a text"],
  [smtpWith({ user: "u", password: "s3cret" }), "alerts.channels.mail.smtp.password", '{"file": "PATH"}'],
  [smtpWith({ user: "u" }), "alerts.channels.mail.smtp", "needs both"],
  [
    smtpWith({ user: "u", password: { env: "P" }, tls: "none" }),
    "alerts.channels.mail.smtp.tls",
    "in the clear",
  ],
  [alertsWith({ everySeconds: 0 }), "alerts.everySeconds", "from 1 to 3600"],
  [alertsWith({ reminderSeconds: -1 }), "alerts.reminderSeconds", "from 0 to 604800"],
  [alertsWith({ rules: { failover: { enabled: 1 } } }), "alerts.rules.failover.enabled", "true or false"],
  [alertsWith({ rules: { failover: { holdSeconds: -1 } } }), "alerts.rules.failover.holdSeconds", "from 0"],
  [alertsWith({ rules: { failover: { to: "ops" } } }), "alerts.rules.failover.to", "a list"],
  [
    alertsWith({ rules: { failover: { to: ["obs"] } } }),
    "alerts.rules.failover.to[0]",
    'did you mean "ops"?',
  ],
  [
    alertsWith({ rules: { certificate: { enabled: 0 } } }),
    "alerts.rules.certificate.enabled",
    "true or false",
  ],
  [alertsWith({ rules: { certificate: { days: 0 } } }), "alerts.rules.certificate.days", "from 1 to 365"],
  [alertsWith({ rules: { certificate: { to: [1] } } }), "alerts.rules.certificate.to[0]", "a name"],
  [alertsWith({ rules: { hitRatio: { enabled: "x" } } }), "alerts.rules.hitRatio.enabled", "true or false"],
  [alertsWith({ rules: { hitRatio: { below: 50 } } }), "alerts.rules.hitRatio.below", "from 0 to 1"],
  [
    alertsWith({ rules: { hitRatio: { dropFraction: 2 } } }),
    "alerts.rules.hitRatio.dropFraction",
    "from 0 to 1",
  ],
  [
    alertsWith({ rules: { hitRatio: { windowSeconds: 9 } } }),
    "alerts.rules.hitRatio.windowSeconds",
    "from 10",
  ],
  [alertsWith({ rules: { hitRatio: { holdSeconds: 0.5 } } }), "alerts.rules.hitRatio.holdSeconds", "from 0"],
  [alertsWith({ rules: { hitRatio: { requestsMin: 0 } } }), "alerts.rules.hitRatio.requestsMin", "from 1"],
  [
    alertsWith({ rules: { hitRatio: { bySite: { shop: 2 } } } }),
    "alerts.rules.hitRatio.bySite.shop",
    "from 0 to 1",
  ],
  [alertsWith({ rules: { hitRatio: { to: ["x"] } } }), "alerts.rules.hitRatio.to[0]", "no channel"],
  [alertsWith({ rules: { errorRate: { enabled: "x" } } }), "alerts.rules.errorRate.enabled", "true or false"],
  [alertsWith({ rules: { errorRate: { above: -1 } } }), "alerts.rules.errorRate.above", "from 0 to 1"],
  [
    alertsWith({ rules: { errorRate: { windowSeconds: "5m" } } }),
    "alerts.rules.errorRate.windowSeconds",
    "seconds",
  ],
  [
    alertsWith({ rules: { errorRate: { holdSeconds: 86_401 } } }),
    "alerts.rules.errorRate.holdSeconds",
    "to 86400",
  ],
  [alertsWith({ rules: { errorRate: { requestsMin: 0 } } }), "alerts.rules.errorRate.requestsMin", "from 1"],
  [
    alertsWith({ rules: { errorRate: { bySite: { shop: "x" } } } }),
    "alerts.rules.errorRate.bySite.shop",
    "from 0",
  ],
  [alertsWith({ rules: { errorRate: { to: [""] } } }), "alerts.rules.errorRate.to[0]", "a name"],
  [{ workers: 0, sites: {} }, "workers", "from 1 to 64"],
  [{ workers: 0, sites: {} }, "workers", 'a whole number of workers from 1 to 64 or "auto"'],
  [siteWith({ cache: { memoryMax: "10 apples" } }), "sites.shop.cache.memoryMax", '"256MiB"'],
  [siteWith({ cache: { memoryMax: 1000 } }), "sites.shop.cache.memoryMax", "from 1MiB"],
  [siteWith({ cache: { memoryReserved: -1 } }), "sites.shop.cache.memoryReserved", "from 1MiB"],
  [
    siteWith({ cache: { memoryMax: "2MiB", memoryReserved: "3MiB" } }),
    "sites.shop.cache.memoryReserved",
    "3MiB is more than cache.memoryMax, 2MiB",
  ],
  [siteWith({ hosts: [] }), "sites.shop.hosts", "at least one"],
  [siteWith({ hosts: "a" }), "sites.shop.hosts", "a list"],
  [siteWith({ hosts: ["http://a"] }), "sites.shop.hosts[0]", "without scheme, port and path"],
  [siteWith({ hosts: ["a:80"] }), "sites.shop.hosts[0]", "without scheme, port and path"],
  [siteWith({ hosts: ["a.*.example"] }), "sites.shop.hosts[0]", '"*.shop.example"'],
  [siteWith({ origins: {} }), "sites.shop.origins", "at least one origin"],
  [siteWith({ origins: { "a b": { url: "http://a" } } }), 'sites.shop.origins["a b"]', "letters, digits"],
  [
    siteWith({ origins: { app: {} } }),
    "sites.shop.origins.app",
    '"url", "directory", "zone", "s3", "gcs" or "azure"',
  ],
  [siteWith({ origins: { app: "http://a" } }), "sites.shop.origins.app", "url"],
  [
    siteWith({ origins: { app: { url: "http://a", directory: "." } } }),
    "sites.shop.origins.app",
    "exactly one",
  ],
  [siteWith({ origins: { app: { zone: "No/Zone" } } }), "sites.shop.origins.app.zone", "a zone's name"],
  [siteWith({ origins: { app: { directory: 1 } } }), "sites.shop.origins.app.directory", "a path"],
  [
    siteWith({ origins: { app: { directory: ".", index: "../x" } } }),
    "sites.shop.origins.app.index",
    '"index.html"',
  ],
  [
    siteWith({ origins: { app: { directory: ".", timeouts: {} } } }),
    "sites.shop.origins.app.timeouts",
    'beside "directory"',
  ],
  [originWith({ url: "ftp://a" }), "sites.shop.origins.app.url", "http(s)://"],
  [originWith({ url: "a.example" }), "sites.shop.origins.app.url", "http(s)://"],
  [originWith({ url: "http://a?x" }), "sites.shop.origins.app.url", "without user, query and fragment"],
  [originWith({ url: "http://u:p@a" }), "sites.shop.origins.app.url", "without user"],
  [originWith({ url: "http://a:99999" }), "sites.shop.origins.app.url", "http(s)://"],
  [originWith({ index: "x" }), "sites.shop.origins.app.index", 'beside "url"'],
  [originWith({ hostHeader: "me" }), "sites.shop.origins.app.hostHeader", '"viewer"'],
  [originWith({ hostHeader: { name: "a/b" } }), "sites.shop.origins.app.hostHeader.name", "a host name"],
  [originWith({ hostHeader: { nam: "a" } }), "sites.shop.origins.app.hostHeader.nam", '"name"'],
  [originWith({ tls: { caFile: 1 } }), "sites.shop.origins.app.tls.caFile", "a path"],
  [originWith({ tls: { serverName: "a:1" } }), "sites.shop.origins.app.tls.serverName", "a host name"],
  [originWith({ tls: { verify: "no" } }), "sites.shop.origins.app.tls.verify", "true or false"],
  [
    originWith({ timeouts: { connectMs: 0 } }),
    "sites.shop.origins.app.timeouts.connectMs",
    "from 1 to 3600000",
  ],
  [
    originWith({ timeouts: { firstByteMs: "5s" } }),
    "sites.shop.origins.app.timeouts.firstByteMs",
    "milliseconds",
  ],
  [
    originWith({ timeouts: { betweenBytesMs: -1 } }),
    "sites.shop.origins.app.timeouts.betweenBytesMs",
    "milliseconds",
  ],
  [originWith({ connectionsMax: 0 }), "sites.shop.origins.app.connectionsMax", "from 1 to 65535"],
  [originWith({ keepAliveMs: -1 }), "sites.shop.origins.app.keepAliveMs", "from 0"],
  ...BAD_BUCKETS,
  [{ name: "a b", sites: {} }, "name", "letters, digits"],
  [siteWith({ shields: "fra" }), "sites.shop.shields", "a list"],
  [siteWith({ shields: ["a b"] }), "sites.shop.shields[0]", "letters, digits"],
  [
    siteWith({ shields: ["fra"] }),
    "sites.shop.shields[0]",
    'no shield is named "fra"; tiers.shields has none',
  ],
  [{ purges: true, sites: {} }, "purges", "{from, token}"],
  [{ purges: { from: "10.0.0.1" }, sites: {} }, "purges.from", "list"],
  [{ purges: { from: ["all"] }, sites: {} }, "purges.from[0]", ""],
  [{ purges: { token: "shh" }, sites: {} }, "purges.token", '{"env": "NAME"} or {"file": "PATH"}'],
  [{ tiers: true, sites: {} }, "tiers", "{secret, formerSecret, accept, shields}"],
  [{ tiers: {}, sites: {} }, "tiers.secret", "is missing"],
  [tiersWith({ secret: "shh" }), "tiers.secret", '{"env": "NAME"} or {"file": "PATH"}'],
  [tiersWith({ formerSecret: "shh" }), "tiers.formerSecret", '{"env": "NAME"} or {"file": "PATH"}'],
  [tiersWith({ accept: "yes" }), "tiers.accept", "true or false"],
  [tiersWith({ shields: [] }), "tiers.shields", ""],
  [tiersWith({ shields: { "a b": { urls: ["http://a"] } } }), "tiers.shields.a b", "letters, digits"],
  [tiersWith({ shields: { fra: "http://a" } }), "tiers.shields.fra", "{urls, tls}"],
  [shieldWith({ urls: [] }), "tiers.shields.fra.urls", "at least one"],
  [shieldWith({ urls: ["fra"] }), "tiers.shields.fra.urls[0]", "http(s)://host[:port]"],
  [shieldWith({ urls: ["http://a/b"] }), "tiers.shields.fra.urls[0]", "without user, path"],
  [shieldWith({ urls: ["http://u:p@a"] }), "tiers.shields.fra.urls[0]", "without user"],
  [shieldWith({ urls: ["http://a", "http://a"] }), "tiers.shields.fra.urls[1]", "twice"],
  [shieldWith({ tls: true }), "tiers.shields.fra.tls", "{caFile, serverName}"],
  [shieldWith({ tls: { caFile: 1 } }), "tiers.shields.fra.tls.caFile", "a path"],
  [shieldWith({ tls: { serverName: "a:1" } }), "tiers.shields.fra.tls.serverName", "a host name"],
  [originWith({ health: {} }), "sites.shop.origins.app.health.path", "is missing"],
  [originWith({ health: "/up" }), "sites.shop.origins.app.health", "{path, intervalMs, timeoutMs,"],
  [originWith({ health: { path: "up" } }), "sites.shop.origins.app.health.path", 'beginning with "/"'],
  [
    originWith({ health: { path: "/", intervalMs: 99 } }),
    "sites.shop.origins.app.health.intervalMs",
    "from 100 to 3600000",
  ],
  [
    originWith({ health: { path: "/", timeoutMs: 0 } }),
    "sites.shop.origins.app.health.timeoutMs",
    "from 1 to 3600000",
  ],
  [
    originWith({ health: { path: "/", statuses: [] } }),
    "sites.shop.origins.app.health.statuses",
    "at least one",
  ],
  [
    originWith({ health: { path: "/", statuses: ["200"] } }),
    "sites.shop.origins.app.health.statuses[0]",
    '"2xx", "3xx", "4xx" or "5xx"',
  ],
  [
    originWith({ health: { path: "/", unhealthyAfter: 0 } }),
    "sites.shop.origins.app.health.unhealthyAfter",
    "from 1 to 100",
  ],
  [
    originWith({ health: { path: "/", healthyAfter: 1.5 } }),
    "sites.shop.origins.app.health.healthyAfter",
    "from 1 to 100",
  ],
  [
    originWith({ ejection: { failures: 0 } }),
    "sites.shop.origins.app.ejection.failures",
    "from 1 to 1000000",
  ],
  [originWith({ ejection: { slowMs: "1s" } }), "sites.shop.origins.app.ejection.slowMs", "milliseconds"],
  [originWith({ ejection: { forMs: 0 } }), "sites.shop.origins.app.ejection.forMs", "from 1 to 3600000"],
  [originWith({ concurrency: 5 }), "sites.shop.origins.app.concurrency", "{max, queueMax, waitMs}"],
  [originWith({ concurrency: { max: 0 } }), "sites.shop.origins.app.concurrency.max", "from 1 to 65535"],
  [
    originWith({ concurrency: { max: 1, queueMax: -1 } }),
    "sites.shop.origins.app.concurrency.queueMax",
    "from 0 to 100000",
  ],
  [
    originWith({ concurrency: { max: 1, waitMs: 0 } }),
    "sites.shop.origins.app.concurrency.waitMs",
    "from 1 to 3600000",
  ],
  [
    originWith({ degraded: { freshSeconds: 86_401 } }),
    "sites.shop.origins.app.degraded.freshSeconds",
    "from 0 to 86400",
  ],
  [
    originWith({ degraded: { staleSeconds: -1 } }),
    "sites.shop.origins.app.degraded.staleSeconds",
    "from 0 to 86400",
  ],
  [siteWith({ originGroups: [] }), "sites.shop.originGroups", "an object"],
  [siteWith({ originGroups: { "a b": { members: ["app"] } } }), 'sites.shop.originGroups["a b"]', "letters"],
  [groupWith({ members: [] }), "sites.shop.originGroups.both.members", "at least one"],
  [groupWith({ members: ["app", 5] }), "sites.shop.originGroups.both.members[1]", "a name of 1 to 63"],
  [groupWith({ members: [{}] }), "sites.shop.originGroups.both.members[0]", '"origin"'],
  [
    groupWith({ members: [{ origin: "-" }] }),
    "sites.shop.originGroups.both.members[0].origin",
    "a name of 1 to 63",
  ],
  [
    groupWith({ members: [{ origin: "app", weight: 0 }] }),
    "sites.shop.originGroups.both.members[0].weight",
    "from 1 to 1000",
  ],
  [groupWith({ members: ["ap"] }), "sites.shop.originGroups.both.members[0]", 'did you mean "app"?'],
  [groupWith({ members: ["app", "app"] }), "sites.shop.originGroups.both.members[1]", "twice"],
  [
    siteWith({ originGroups: { app: { members: ["app"] } } }),
    "sites.shop.originGroups.app",
    "the name of an origin",
  ],
  [groupWith({ balance: "random" }), "sites.shop.originGroups.both.balance", '"least-connections"'],
  [groupWith({ failoverOn: 500 }), "sites.shop.originGroups.both.failoverOn", "a list"],
  [groupWith({ failoverOn: [200] }), "sites.shop.originGroups.both.failoverOn[0]", "from 400 to 599"],
  [
    groupWith({ failoverOn: ["dns"] }),
    "sites.shop.originGroups.both.failoverOn[0]",
    '"connect" or "timeout"',
  ],
  [groupWith({ attemptTimeoutMs: 0 }), "sites.shop.originGroups.both.attemptTimeoutMs", "from 1 to 3600000"],
  [groupWith({ attemptsMax: 0 }), "sites.shop.originGroups.both.attemptsMax", "from 1 to 50"],
  [
    groupWith({ retryBudget: { fraction: 2 } }),
    "sites.shop.originGroups.both.retryBudget.fraction",
    "from 0 to 1",
  ],
  [
    groupWith({ retryBudget: { perSecondMin: -1 } }),
    "sites.shop.originGroups.both.retryBudget.perSecondMin",
    "from 0 to 10000",
  ],
  [siteWith({ behaviors: [] }), "sites.shop.behaviors", "at least one"],
  [siteWith({ behaviors: [{}] }), "sites.shop.behaviors[0].path", "is missing"],
  [behaviorWith({ path: "static" }), "sites.shop.behaviors[0].path", 'beginning with "/" or "*"'],
  [behaviorWith({ path: `/${"*x".repeat(10)}` }), "sites.shop.behaviors[0].path", "at most 9 *"],
  [behaviorWith({ origin: "nope" }), "sites.shop.behaviors[0].origin", '"app"'],
  [behaviorWith({ origin: "constructor" }), "sites.shop.behaviors[0].origin", '"app"'],
  [behaviorWith({ viewerProtocol: "https" }), "sites.shop.behaviors[0].viewerProtocol", '"https-only"'],
  [behaviorWith({ allowedMethods: "write" }), "sites.shop.behaviors[0].allowedMethods", '"read"'],
  [
    behaviorWith({ allowedMethods: ["get"] }),
    "sites.shop.behaviors[0].allowedMethods[0]",
    "a request method in upper case",
  ],
  [
    behaviorWith({ allowedMethods: ["TRACE"] }),
    "sites.shop.behaviors[0].allowedMethods[0]",
    "not CONNECT and TRACE",
  ],
  [
    behaviorWith({ allowedMethods: [5] }),
    "sites.shop.behaviors[0].allowedMethods[0]",
    "a request method in upper case",
  ],
  [
    behaviorWith({ cachedMethods: ["POST"] }),
    "sites.shop.behaviors[0].cachedMethods[0]",
    '"GET", "HEAD" or "OPTIONS"',
  ],
  [behaviorWith({ cache: null }), "sites.shop.behaviors[0].cache", "true or false"],
  [behaviorWith({ collapse: 0 }), "sites.shop.behaviors[0].collapse", "true or false"],
  [
    behaviorWith({ ttlSeconds: 60 }),
    "sites.shop.behaviors[0].ttlSeconds",
    "{min, default, max, jitterFraction}",
  ],
  [behaviorWith({ ttlSeconds: { min: -1 } }), "sites.shop.behaviors[0].ttlSeconds.min", "seconds from 0"],
  [
    behaviorWith({ ttlSeconds: { default: 1.5 } }),
    "sites.shop.behaviors[0].ttlSeconds.default",
    "a whole number",
  ],
  [
    behaviorWith({ ttlSeconds: { jitterFraction: 0.9 } }),
    "sites.shop.behaviors[0].ttlSeconds.jitterFraction",
    "0.5",
  ],
  [behaviorWith({ ttlSeconds: { max: "1h" } }), "sites.shop.behaviors[0].ttlSeconds.max", "seconds from 0"],
  [
    behaviorWith({ ttlSeconds: { min: 9, max: 3 } }),
    "sites.shop.behaviors[0].ttlSeconds.min",
    "more than ttlSeconds.max",
  ],
  [
    behaviorWith({ ttlSeconds: { default: 9, max: 3 } }),
    "sites.shop.behaviors[0].ttlSeconds.default",
    "not between",
  ],
  [behaviorWith({ statusTtlSeconds: { "40x": 1 } }), "sites.shop.behaviors[0].statusTtlSeconds.40x", '"4xx"'],
  [
    behaviorWith({ statusTtlSeconds: { "404": "1" } }),
    "sites.shop.behaviors[0].statusTtlSeconds.404",
    "seconds from 0",
  ],
  [behaviorWith({ edgeTtlSeconds: -1 }), "sites.shop.behaviors[0].edgeTtlSeconds", "seconds from 0"],
  [behaviorWith({ browserTtlSeconds: "x" }), "sites.shop.behaviors[0].browserTtlSeconds", "seconds from 0"],
  [
    behaviorWith({ staleWhileRevalidateSeconds: -1 }),
    "sites.shop.behaviors[0].staleWhileRevalidateSeconds",
    "seconds from 0",
  ],
  [
    behaviorWith({ staleIfErrorSeconds: 2 ** 31 }),
    "sites.shop.behaviors[0].staleIfErrorSeconds",
    "to 2147483647",
  ],
  [behaviorWith({ staleAfterMs: 0 }), "sites.shop.behaviors[0].staleAfterMs", "from 1 to 3600000"],
  [behaviorWith({ strictSMaxage: "x" }), "sites.shop.behaviors[0].strictSMaxage", "true or false"],
  [behaviorWith({ heuristic: { fraction: 2 } }), "sites.shop.behaviors[0].heuristic.fraction", "from 0 to 1"],
  [
    behaviorWith({ heuristic: { maxSeconds: -1 } }),
    "sites.shop.behaviors[0].heuristic.maxSeconds",
    "seconds from 0",
  ],
  [
    behaviorWith({ cacheKey: { query: "some" } }),
    "sites.shop.behaviors[0].cacheKey.query",
    '"all" or "none"',
  ],
  [
    behaviorWith({ cacheKey: { query: { include: [1] } } }),
    "sites.shop.behaviors[0].cacheKey.query.include[0]",
    "a query parameter",
  ],
  [
    behaviorWith({ cacheKey: { query: { include: [], exclude: [] } } }),
    "sites.shop.behaviors[0].cacheKey.query",
    "exactly one",
  ],
  [
    behaviorWith({ cacheKey: { stripTracking: 1 } }),
    "sites.shop.behaviors[0].cacheKey.stripTracking",
    "true or false",
  ],
  [
    behaviorWith({ cacheKey: { sortQuery: 1 } }),
    "sites.shop.behaviors[0].cacheKey.sortQuery",
    "true or false",
  ],
  [
    behaviorWith({ cacheKey: { headers: ["a b"] } }),
    "sites.shop.behaviors[0].cacheKey.headers[0]",
    "a header field name",
  ],
  [
    behaviorWith({ cacheKey: { cookies: ["a=b"] } }),
    "sites.shop.behaviors[0].cacheKey.cookies[0]",
    "a cookie name",
  ],
  [behaviorWith({ cacheKey: { device: "x" } }), "sites.shop.behaviors[0].cacheKey.device", "true or false"],
  [
    behaviorWith({ cacheKey: { language: true } }),
    "sites.shop.behaviors[0].cacheKey.language",
    "a language tag",
  ],
  [behaviorWith({ cacheKey: { language: [] } }), "sites.shop.behaviors[0].cacheKey.language", "at least one"],
  [behaviorWith({ compress: "gzip" }), "sites.shop.behaviors[0].compress", "true or false"],
  [behaviorWith({ forward: { query: "none" } }), "sites.shop.behaviors[0].forward.query", '"key" or "all"'],
  [behaviorWith({ forward: { headers: ["x"] } }), "sites.shop.behaviors[0].forward.headers", "{include}"],
  [
    behaviorWith({ forward: { headers: { exclude: "x" } } }),
    "sites.shop.behaviors[0].forward.headers.exclude",
    "a list",
  ],
  [behaviorWith({ forward: { cookies: "some" } }), "sites.shop.behaviors[0].forward.cookies", '"none"'],
  [
    behaviorWith({ requestHeaders: { set: { "a b": "x" } } }),
    'sites.shop.behaviors[0].requestHeaders.set["a b"]',
    "a header field name",
  ],
  [
    behaviorWith({ requestHeaders: { set: { Host: "x" } } }),
    "sites.shop.behaviors[0].requestHeaders.set.Host",
    "frame a message",
  ],
  [
    behaviorWith({ requestHeaders: { append: { te: "x" } } }),
    "sites.shop.behaviors[0].requestHeaders.append.te",
    "frame a message",
  ],
  [
    behaviorWith({ requestHeaders: { remove: ["a:"] } }),
    "sites.shop.behaviors[0].requestHeaders.remove[0]",
    "a header field name",
  ],
  [
    behaviorWith({ responseHeaders: { append: { "Content-Length": "1" } } }),
    "sites.shop.behaviors[0].responseHeaders.append.Content-Length",
    "frame a message",
  ],
  [
    behaviorWith({ responseHeaders: { remove: ["transfer-encoding"] } }),
    "sites.shop.behaviors[0].responseHeaders.remove[0]",
    "frame a message",
  ],
  [
    behaviorWith({ responseHeaders: { set: { a: "x\r\ny: z" } } }),
    "sites.shop.behaviors[0].responseHeaders.set.a",
    "without line breaks",
  ],
  [
    behaviorWith({ responseHeaders: { set: { a: 1 } } }),
    "sites.shop.behaviors[0].responseHeaders.set.a",
    "a text",
  ],
  [behaviorWith({ rewrite: { "/a": "/b" } }), "sites.shop.behaviors[0].rewrite", "a list"],
  [behaviorWith({ rewrite: [{ match: "/a" }] }), "sites.shop.behaviors[0].rewrite[0].to", "is missing"],
  [
    behaviorWith({ rewrite: [{ match: "a", to: "/a" }] }),
    "sites.shop.behaviors[0].rewrite[0].match",
    "a path pattern",
  ],
  [
    behaviorWith({ rewrite: [{ match: "/a/*", to: "/$2" }] }),
    "sites.shop.behaviors[0].rewrite[0].to",
    "only 1 *",
  ],
  [
    behaviorWith({ rewrite: [{ match: "/a/*", to: "/$x" }] }),
    "sites.shop.behaviors[0].rewrite[0].to",
    "$1 to $9",
  ],
  [behaviorWith({ bypass: { cookies: "x" } }), "sites.shop.behaviors[0].bypass.cookies", "a list"],
  [
    behaviorWith({ bypass: { headers: [""] } }),
    "sites.shop.behaviors[0].bypass.headers[0]",
    "a header field name",
  ],
  [
    behaviorWith({ bypass: { queryParameters: ["a&b"] } }),
    "sites.shop.behaviors[0].bypass.queryParameters[0]",
    "a query parameter",
  ],
  [behaviorWith({ storeAuthorized: "x" }), "sites.shop.behaviors[0].storeAuthorized", "true or false"],
  [behaviorWith({ storeSetCookie: "x" }), "sites.shop.behaviors[0].storeSetCookie", "true or false"],
  [behaviorWith({ maxVariants: 0 }), "sites.shop.behaviors[0].maxVariants", "from 1 to 10000"],
  [siteWith({ redirects: {} }), "sites.shop.redirects", "a list"],
  [siteWith({ redirects: [{ path: "a", to: "/" }] }), "sites.shop.redirects[0].path", "a path pattern"],
  [siteWith({ redirects: [{ path: "/a" }] }), "sites.shop.redirects[0].to", "is missing"],
  [siteWith({ redirects: [{ path: "/a", to: "b" }] }), "sites.shop.redirects[0].to", "a URL or a path"],
  [siteWith({ redirects: [{ path: "/a", to: "/$hst" }] }), "sites.shop.redirects[0].to", "$scheme, $host"],
  [
    siteWith({ redirects: [{ path: "/a", to: "/$1" }] }),
    "sites.shop.redirects[0].to",
    "the pattern has no *",
  ],
  [siteWith({ redirects: [{ host: "a/b", to: "/" }] }), "sites.shop.redirects[0].host", "a host name"],
  [
    siteWith({ redirects: [{ path: "/a", to: "/b", status: 300 }] }),
    "sites.shop.redirects[0].status",
    "301, 302, 303, 307 or 308",
  ],
  [siteWith({ errorPages: { "200": { path: "/" } } }), "sites.shop.errorPages.200", '"4xx"'],
  [
    siteWith({ errorPages: { "404": { path: "x" } } }),
    "sites.shop.errorPages.404.path",
    'beginning with "/"',
  ],
  [
    siteWith({ errorPages: { "404": { path: "/x", status: 99 } } }),
    "sites.shop.errorPages.404.status",
    "from 200 to 599",
  ],
  [siteWith({ defaultDocument: "/index.html" }), "sites.shop.defaultDocument", '"index.html"'],
  [siteWith({ vendorIds: ["a b"] }), "sites.shop.vendorIds[0]", "1 to 64 letters"],
  [siteWith({ cacheStatusFields: ["x"] }), "sites.shop.cacheStatusFields[0]", '"cf-cache-status"'],
  [siteWith({ tagCase: "upper" }), "sites.shop.tagCase", '"sensitive" or "insensitive"'],
  [siteWith({ http3: "x" }), "sites.shop.http3", "true or false"],
  [siteWith({ developmentMode: "x" }), "sites.shop.developmentMode", "true or false"],
];

describe("a wrong value", () => {
  test("of every setting in the reference stands in the table", () => {
    const reference = generatedFiles().get("docs/reference/config.md") ?? "";
    const settings = [...reference.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1] as string);
    expect(settings.length).toBeGreaterThan(80);
    const refused = new Set(
      BAD.map(([, path]) =>
        path
          .replace(/^sites\.[\w-]+/, "sites.<id>")
          .replace(/\[\d+\]/g, "[]")
          .replace(
            /(origins|originGroups|shields|errorPages|statusTtlSeconds|set|append|channels|bySite)(?:\.[\w-]+|\["[^"]*"\])/,
            "$1.<name>",
          ),
      ),
    );
    const covers = (setting: string) =>
      [...refused].some(
        (path) => path === setting || path === `${setting}[]` || path === `${setting}.<name>`,
      );
    expect(settings.filter((setting) => !covers(setting))).toEqual([]);
  });

  test.each(BAD)("%j is refused at %s", (value, path, allowed) => {
    const result = parseConfig(value);
    if (result.ok) throw new Error("was taken");
    const problem = result.problems.find((one) => one.path === path && one.severity === "error");
    expect(problem?.message ?? formatProblems("none at the path", result.problems)).toContain(allowed);
  });

  test("is shown shortened, and never when it may be secret", () => {
    expect(errorsOf(siteWith({ defaultDocument: `/${"x".repeat(300)}` }))[0]).toMatch(/got "\/x{59}\.\.\."$/);
    const secrets = [
      behaviorWith({ requestHeaders: { set: { authorization: "Bearer s3cret\n" } } }),
      behaviorWith({ requestHeaders: "Bearer s3cret", cache: "x" }),
      originWith({ url: "https://user:s3cret@app.example" }),
      alertsWith({ channels: { ops: { webhook: "s3cret", secret: "s3cret" } } }),
      smtpWith({ user: "u", password: "s3cret" }),
      siteWith({ hosts: { token: "s3cret" } }),
    ];
    expect(errorsOf(secrets[0])[0]).toContain("got a text of 14 characters");
    for (const [i, secret] of secrets.entries())
      if (i !== 1) expect(errorsOf(secret).join()).not.toContain("s3cret");
  });
});

describe("an unknown setting", () => {
  test("is refused with the nearest valid name", () => {
    const near: [unknown, string][] = [
      [
        behaviorWith({ orgin: "app" }),
        'sites.shop.behaviors[0].orgin: unknown setting "orgin"; did you mean "origin"?',
      ],
      [{ site: {}, sites: {} }, 'site: unknown setting "site"; did you mean "sites"?'],
      [
        { listen: { "proxy-protocol": true }, sites: {} },
        'listen.proxy-protocol: unknown setting "proxy-protocol"; did you mean "proxyProtocol"?',
      ],
      [
        behaviorWith({ ttl: 1 }),
        'sites.shop.behaviors[0].ttl: unknown setting "ttl"; did you mean "ttlSeconds"?',
      ],
      [
        originWith({ conectionsMax: 1 }),
        'sites.shop.origins.app.conectionsMax: unknown setting "conectionsMax"; did you mean "connectionsMax"?',
      ],
      [
        siteWith({ origins: { app: { ulr: "http://a" } } }),
        'sites.shop.origins.app.ulr: unknown setting "ulr"; did you mean "url"?',
      ],
    ];
    for (const [value, message] of near) expect(errorsOf(value)).toContain(message);
  });

  test("that is near to nothing is told what there is", () => {
    expect(errorsOf({ cache: { zzzzzz: 1 }, sites: {} })).toEqual([
      'cache.zzzzzz: unknown setting "zzzzzz"; allowed here: memory, objectMax, disk',
    ]);
  });

  test("named like an inherited property is unknown all the same", () => {
    expect(errorsOf(JSON.parse('{"sites":{},"__proto__":{"a":1},"constructor":1}'))).toHaveLength(2);
  });
});

describe("what spans settings", () => {
  test("a behaviour without an origin takes the only one, and must name one of several", () => {
    expect(valid(behaviorWith({})).sites.shop?.behaviors[0]?.origin).toBe("app");
    const two = { app: { url: "http://a" }, files: { directory: "." } };
    expect(errorsOf(siteWith({ origins: two, behaviors: [{ path: "/*" }] }))[0]).toContain(
      "behaviors[0].origin: is missing",
    );
    expect(errorsOf(siteWith({ origins: two }))[0]).toContain("behaviors: is missing");
  });

  test("a host belongs to one site", () => {
    const value = {
      sites: { a: { ...SITE, hosts: ["x.example"] }, b: { ...SITE, hosts: ["y.example", "X.example"] } },
    };
    expect(errorsOf(value)).toEqual(['sites.b.hosts[1]: "x.example" already belongs to site "a"']);
  });

  test("sites may not reserve more memory together than there is", () => {
    const reserving = (...sizes: (string | undefined)[]) => ({
      cache: { memory: "64MiB", objectMax: "4MiB" },
      sites: Object.fromEntries(
        sizes.map((memoryReserved, i) => [
          `s${i}`,
          {
            ...SITE,
            hosts: [`s${i}.example`],
            ...(memoryReserved === undefined ? {} : { cache: { memoryReserved } }),
          },
        ]),
      ),
    });
    expect(errorsOf(reserving("32MiB", "32MiB"))).toEqual([]);
    expect(warningsOf(reserving("32MiB", "32MiB"))).toEqual([]);
    expect(errorsOf(reserving("32MiB", "1MiB", "32MiB"))).toEqual([
      "sites.s2.cache.memoryReserved: is too much: all sites together reserve 65MiB, and cache.memory is 64MiB; reserve less, or give the cache more",
    ]);
    // The others have to have room for an object at least.
    expect(warningsOf(reserving("61MiB", undefined))).toEqual([
      "sites.s0.cache.memoryReserved: all sites together reserve 61MiB of cache.memory, 64MiB: what is left for the sites without a reserve is less than one object of cache.objectMax",
    ]);
    expect(warningsOf(reserving("60MiB", undefined))).toEqual([]);
  });

  test("what is doubtful is a warning, and the config is taken", () => {
    const doubtful: [unknown, string][] = [
      [{ sites: {} }, "sites: is empty"],
      [siteWith({ behaviors: [{ path: "/a" }] }), "sites.shop.behaviors: none of them"],
      [
        siteWith({ behaviors: [{ path: "/*" }, { path: "/a" }] }),
        "sites.shop.behaviors[1].path: is never reached",
      ],
      [
        siteWith({ behaviors: [{ path: "/a/*" }, { path: "/a/b/*" }, { path: "/*" }] }),
        "sites.shop.behaviors[1].path: is never",
      ],
      [
        siteWith({
          origins: { app: { url: "http://a" }, b: { directory: "." } },
          behaviors: [{ path: "/*", origin: "app" }],
        }),
        "sites.shop.origins.b: is not the origin",
      ],
      [
        behaviorWith({ forward: { query: "all" }, cacheKey: { query: "none" } }),
        "sites.shop.behaviors[0].forward.query: ",
      ],
      [
        behaviorWith({ forward: { query: "all" }, cacheKey: { stripTracking: true } }),
        "sites.shop.behaviors[0].forward.query: ",
      ],
      [
        behaviorWith({ cacheKey: { headers: ["User-Agent"] } }),
        'sites.shop.behaviors[0].cacheKey.headers[0]: "user-agent"',
      ],
      [
        behaviorWith({ cacheKey: { headers: ["cookie"] } }),
        'sites.shop.behaviors[0].cacheKey.headers[0]: "cookie"',
      ],
      [groupWith({}), "sites.shop.originGroups.both.members: holds one origin"],
      [
        siteWith({
          origins: { app: { url: "http://a" }, b: { url: "http://b" } },
          originGroups: { both: { members: ["app", "b"], failoverOn: [] } },
        }),
        "sites.shop.originGroups.both.failoverOn: is empty",
      ],
      [
        siteWith({
          origins: { app: { url: "http://a" }, b: { url: "http://b" } },
          originGroups: { both: { members: ["app", "b"] } },
          behaviors: [
            { path: "/b", origin: "b" },
            { path: "/*", origin: "app" },
          ],
        }),
        "sites.shop.originGroups.both: is not the origin of any behavior",
      ],
      [behaviorWith({ storeAuthorized: true }), "sites.shop.behaviors[0].storeAuthorized: "],
      [behaviorWith({ storeSetCookie: true }), "sites.shop.behaviors[0].storeSetCookie: "],
      [siteWith({ redirects: [{ to: "https://a.example$path" }] }), "sites.shop.redirects[0]: has neither"],
      [siteWith({ hosts: ["a.example", "A.example"] }), "sites.shop.hosts[1]: "],
    ];
    for (const [value, warning] of doubtful) {
      expect(errorsOf(value)).toEqual([]);
      expect(warningsOf(value)[0] ?? "none").toStartWith(warning);
    }
  });

  test("what is not doubtful has no warning", () => {
    const usual = [
      { sites: { shop: SITE } },
      siteWith({
        behaviors: [{ path: "/a/*" }, { path: "/a" }, { path: "/*.css" }, { path: "/?" }, { path: "*" }],
      }),
      behaviorWith({ cache: false, forward: { query: "all" }, cacheKey: { query: "none" } }),
      behaviorWith({ forward: { query: "all" } }),
    ];
    for (const value of usual) expect(warningsOf(value)).toEqual([]);
  });
});

describe("an origin group", () => {
  const two = { app: { url: "http://a" }, b: { url: "http://b" } };

  test("has defaults, and is what is asked where it holds every origin", () => {
    const config = valid(siteWith({ origins: two, originGroups: { both: { members: ["app", "b"] } } }));
    expect(config.sites.shop?.originGroups.both).toEqual({
      members: ["app", "b"],
      balance: "failover",
      failoverOn: [500, 502, 503, 504, "connect", "timeout"],
      attemptTimeoutMs: 10_000,
      attemptsMax: 3,
      retryBudget: { fraction: 0.2, perSecondMin: 10 },
    });
    expect(config.sites.shop?.behaviors[0]?.origin).toBe("both");
  });

  test("that leaves an origin out has to be named", () => {
    const origins = { ...two, c: { directory: "." } };
    expect(errorsOf(siteWith({ origins, originGroups: { both: { members: ["app", "b"] } } }))[0]).toContain(
      "a site with several origins (both, app, b, c) must say which is asked for what",
    );
  });

  test("uses its members: none of them is told to be unused", () => {
    const site = { origins: two, originGroups: { both: { members: ["app", { origin: "b", weight: 3 }] } } };
    expect(warningsOf(siteWith(site))).toEqual([]);
  });
});

describe("parsing", () => {
  test("lists at most 100 problems, and says how many more there are", () => {
    const sites = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`s${i}`, 1]));
    const errors = errorsOf({ sites });
    expect(errors).toHaveLength(101);
    expect(errors.at(-1)).toBe(": and 50 more problems");
  });

  test("keeps the objects of sites that did not change", () => {
    const memory: SiteMemory = new Map();
    const parse = (value: unknown) => {
      const steps = parseSteps(value, { memory });
      for (;;) {
        const step = steps.next();
        if (step.done) return step.value.config?.sites;
      }
    };
    const other = { ...SITE, hosts: ["other.example"] };
    const before = parse({ sites: { shop: SITE, other } });
    const after = parse({ sites: { shop: structuredClone(SITE), other: { ...other, http3: false } } });
    expect(after?.shop).toBe(before?.shop as never);
    expect(after?.other?.http3).toBe(false);
  });

  test("never throws, whatever it is given", () => {
    const names = fc.constantFrom(
      "sites",
      "shop",
      "hosts",
      "origins",
      "app",
      "url",
      "behaviors",
      "path",
      "cacheKey",
      "query",
      "include",
      "__proto__",
      "listen",
      "tls",
      "set",
      "requestHeaders",
      "404",
      "",
    );
    const { tree } = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.string(),
        fc.integer(),
        fc.double(),
        fc.boolean(),
        fc.constant(null),
        fc.constantFrom("/*", "http://a", "all", "*"),
      ),
      tree: fc.oneof(
        { maxDepth: 7 },
        tie("leaf"),
        fc.dictionary(fc.oneof(names, fc.string()), tie("tree"), { maxKeys: 6 }),
        fc.array(tie("tree"), { maxLength: 4 }),
      ),
    }));
    const shaped = fc.record(
      {
        sites: fc.dictionary(
          fc.constantFrom("shop", "b"),
          fc.record({ hosts: tree, origins: tree, behaviors: tree }, { requiredKeys: [] }),
        ),
        listen: tree,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(tree, shaped, fc.anything()), (value) => {
        const result = parseConfig(value);
        const problems = result.ok ? result.warnings : result.problems;
        expect(result.ok || problems.length > 0).toBe(true);
        expect(formatProblems("f", problems)).not.toContain("undefined");
      }),
      { numRuns: 1500 },
    );
  });

  test("takes a value that holds itself as it comes", () => {
    const site: Record<string, unknown> = { ...SITE };
    site.behaviors = [site];
    expect(errorsOf({ sites: { shop: site } }).length).toBeGreaterThan(0);
  });
});
