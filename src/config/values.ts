/**
 * The kinds of single values that settings have: hosts, patterns, field names, sizes and so on. Each
 * carries one sentence of what is allowed, which the error, the reference and the schema all use.
 */
import { domainToASCII } from "node:url";
import ipaddr from "ipaddr.js";
import * as z from "zod";
import { parseListenAddress } from "./address.ts";
import { CONTROL_URL_LENGTH_MAX, isControlUrl, isNatsName, isNatsUrl } from "./fleet-names.ts";
import { parseSize } from "./size.ts";

/** What is allowed for a kind of value, in words, and whether values of it may be shown in errors. */
export interface ValueNote {
  readonly allowed: string;
  readonly secret?: boolean;
}

/** Notes by schema; wrappers (optional, default) take the note of what they wrap. */
export const valueNotes = z.registry<ValueNote>();

/** Names of the input interfaces that types.ts exports for objects. */
export const typeNames = z.registry<{ name: string }>();

/** Message of an issue that says no more than "not what is allowed here". */
export const NOT_ALLOWED = "not allowed";

/** No text of a config is longer, in UTF-16 units. */
export const TEXT_MAX = 8192;
const HOST_LENGTH_MAX = 253;
const PATTERN_LENGTH_MAX = 1024;
/** A pattern holds at most so many `*`: each may have to be tried again for each character. */
export const PATTERN_STARS_MAX = 9;

/** A text that passes `check`, with what is allowed in words. */
export function text(allowed: string, check: (value: string) => boolean, lengthMax = TEXT_MAX) {
  return z
    .string()
    .min(1, { abort: true })
    .max(lengthMax, { abort: true })
    .refine(check, { error: NOT_ALLOWED })
    .register(valueNotes, { allowed });
}

/** A whole number from `min` to `max`. */
export function whole(unit: string, min: number, max: number) {
  return z
    .int()
    .min(min)
    .max(max)
    .register(valueNotes, { allowed: `a whole number of ${unit} from ${min} to ${max}` });
}

/** A size in bytes: a number, or a text with a unit. The parsed value is a number of bytes. */
export function size(minBytes: number, minText: string, maxBytes = Number.MAX_SAFE_INTEGER, maxText = "") {
  const range = maxText === "" ? `at least ${minText}` : `from ${minText} to ${maxText}`;
  return z
    .union([z.number(), z.string().max(40)])
    .transform((value, context) => {
      const bytes = parseSize(value);
      if (bytes !== null && bytes >= minBytes && bytes <= maxBytes) return bytes;
      context.addIssue({ code: "custom", message: NOT_ALLOWED });
      return z.NEVER;
    })
    .register(valueNotes, {
      allowed: `a number of bytes or a text such as "64KiB", "256MiB" or "1GB", ${range}`,
    });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HOST_LABELS = /^(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;

/** True for a host name, an IPv4 address or a bracketed IPv6 address, in lower case and without a port. */
function isHost(host: string): boolean {
  if (host.length > HOST_LENGTH_MAX) return false;
  if (host.startsWith("[")) return host.endsWith("]") && ipaddr.IPv6.isValid(host.slice(1, -1));
  return HOST_LABELS.test(host);
}

/** Lower case, international names in their ASCII form (RFC 5891). */
function normalHost(host: string): string {
  const lower = host.toLowerCase();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
  if (/^[\u0000-\u007f]*$/.test(lower)) return lower;
  const wildcard = lower.startsWith("*.");
  const ascii = domainToASCII(wildcard ? lower.slice(2) : lower);
  return ascii === "" ? lower : `${wildcard ? "*." : ""}${ascii}`;
}

function hostKind(allowed: string, check: (host: string) => boolean) {
  return z
    .string()
    .max(HOST_LENGTH_MAX)
    .overwrite(normalHost)
    .refine(check, { error: NOT_ALLOWED })
    .register(valueNotes, { allowed });
}

/** A host that a site answers for: exact, `*.name` or `*`. */
export const hostPattern = hostKind(
  'a host name such as "shop.example", "*.shop.example" or "*", without scheme, port and path',
  (host) => host === "*" || isHost(host.startsWith("*.") ? host.slice(2) : host),
);

/** An id of a zone, service, distribution or pull zone, as the vendors make them. */
export const vendorId = text(
  "1 to 64 letters, digits, dots, hyphens and underscores",
  (value) => /^[\w.-]{1,64}$/.test(value),
  64,
);

/** A name of a certificate: exact or `*.name`. */
export const serverNamePattern = hostKind('a host name such as "shop.example" or "*.shop.example"', (host) =>
  isHost(host.startsWith("*.") ? host.slice(2) : host),
);

/** One host name or address, without a port. */
export const hostName = hostKind('a host name such as "shop.example"', isHost);

/** A host with or without a port: what a Host field holds. */
export const authority = hostKind('a host name such as "shop.example" or "shop.example:8080"', (host) => {
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(host);
  return match !== null && isHost(match[1] ?? "") && Number(match[2] ?? 0) <= 65_535;
});

/** An address to listen on. */
export const address = text(
  '"host:port", ":port" or "[::1]:port", port 0 to 65535 (0 picks a free one)',
  (value) => parseListenAddress(value) !== null,
);

/** An IP address or a range of them. */
export const cidr = text(
  'an IP address or range such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32"',
  isAddressRange,
  64,
);

function isAddressRange(value: string): boolean {
  const [ip = "", prefix, ...rest] = value.split("/");
  const isIPv4 = ipaddr.IPv4.isValidFourPartDecimal(ip);
  if (rest.length > 0 || !(isIPv4 || (ip.includes(":") && ipaddr.IPv6.isValid(ip)))) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (isIPv4 ? 32 : 128));
}

/** A path in the file system; relative ones start at the config file's folder. */
export const filePath = text(
  "a path of a file or folder; a relative one starts at the config file's folder",
  (value) => !value.includes("\0"),
  4096,
);

/** A short text for people. */
export const shortText = text(
  "a text of 1 to 200 characters without control characters",
  (value) => !CONTROL.test(value),
  200,
);

/** An address of mail (RFC 5321 section 4.1.2) in its usual form: no quoted names, no address literals. */
export const mailAddress = text(
  'a mail address such as "ops@shop.example"',
  (value) => {
    const [, host = ""] = /^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([^@]+)$/.exec(value) ?? [];
    return isHost(host.toLowerCase()) && !host.startsWith("[");
  },
  254,
);

/** Name of an origin. */
export const originName = text(
  "a name of 1 to 63 letters, digits, - and _, not beginning with - or _",
  (value) => /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(value),
);

/** Id of a site. */
export const siteId = text(
  "a site id of 1 to 63 lower-case letters, digits and -, not beginning with -",
  (value) => /^[a-z0-9][a-z0-9-]{0,62}$/.test(value),
);

/** Number of `*` in a pattern. */
export function starsOf(pattern: string): number {
  let stars = 0;
  for (const character of pattern) if (character === "*") stars++;
  return stars;
}

/** A pattern of paths: `*` stands for any characters, `?` for one. */
export const pathPattern = text(
  `a path pattern beginning with "/" or "*" such as "/static/*" (* any characters, ? one; at most ${PATTERN_STARS_MAX} *), without a query`,
  (value) =>
    /^[/*]/.test(value) &&
    !/[\s#]/.test(value) &&
    !CONTROL.test(value) &&
    starsOf(value) <= PATTERN_STARS_MAX,
  PATTERN_LENGTH_MAX,
);

/** A path of a site that is asked for as it stands. */
export const sitePath = text(
  'a path beginning with "/" such as "/errors/404.html"',
  (value) => value.startsWith("/") && !/[\s#]/.test(value) && !CONTROL.test(value),
  2048,
);

/** Name of a document inside a folder. */
export const documentName = text(
  'a file name such as "index.html", without "/" at its beginning, "..", "?" and "#"',
  (value) =>
    !value.startsWith("/") &&
    !/[?#\\\s]/.test(value) &&
    !CONTROL.test(value) &&
    !value.split("/").includes(".."),
  255,
);

/** Where a redirect leads. */
export const redirectTarget = text(
  'a URL or a path such as "https://shop.example$path$query" or "/new/$1" (it begins with "/", "http://", "https://" or "$scheme://", and may hold $scheme, $host, $path, $query and $1 to $9)',
  (value) =>
    /^(?:\/|https?:\/\/|\$scheme:\/\/)/.test(value) &&
    !/\s/.test(value) &&
    !CONTROL.test(value) &&
    !/\$(?!(?:scheme|host|path|query)(?![a-z])|[1-9])/.test(value),
  2048,
);

/** What a rewrite turns a path into. */
export const rewriteTarget = text(
  'a path beginning with "/" such as "/v2/$1" (it may hold $1 to $9)',
  (value) =>
    value.startsWith("/") && !/[\s#]/.test(value) && !CONTROL.test(value) && !/\$(?![1-9])/.test(value),
  2048,
);

/** Name of a header field, in lower case (RFC 9110 section 5.1). */
export const fieldName = z
  .string()
  .max(256)
  .regex(TOKEN)
  .toLowerCase()
  .register(valueNotes, { allowed: 'a header field name such as "x-frame-options"' });

/** Fields that frame or route a message: a rule on them would make what is sent unreadable. */
const FRAMING_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Name of a header field that a rule may touch. */
export const ruleFieldName = z
  .string()
  .max(256)
  .regex(TOKEN)
  .toLowerCase()
  .refine((name) => !FRAMING_FIELDS.has(name), { error: NOT_ALLOWED })
  .register(valueNotes, {
    allowed: `a header field name other than those that frame a message (${[...FRAMING_FIELDS].join(", ")})`,
  });

/** Value of a header field (RFC 9110 section 5.5). */
export const fieldValue = z
  .string()
  .max(TEXT_MAX)
  .refine((value) => !/[\r\n\0]/.test(value), { error: NOT_ALLOWED })
  .register(valueNotes, {
    allowed: `a text of at most ${TEXT_MAX} characters without line breaks and NUL`,
    secret: true,
  });

/** Name of a cookie (RFC 6265 section 4.1.1). */
export const cookieName = text('a cookie name such as "session"', (value) => TOKEN.test(value), 256);

/** Name of a query parameter. */
export const parameterName = text(
  'a name of a query parameter such as "page"',
  (value) => !CONTROL.test(value) && !/[&=#]/.test(value),
  256,
);

/** A request method in upper case (RFC 9110 section 9.1). */
export const method = text(
  'a request method in upper case such as "GET" or "POST"; not CONNECT and TRACE',
  (value) => /^[A-Z][A-Z-]{0,31}$/.test(value) && value !== "CONNECT" && value !== "TRACE",
);

/** A language tag (RFC 5646). */
export const languageTag = text(
  'a language tag such as "en" or "pt-BR"',
  (value) => /^[a-z]{1,8}(?:-[a-z0-9]{1,8})*$/i.test(value),
  64,
);

/** A status, or a class of them, whose answer may be stored for some time. */
export const statusKey = text('a status such as "404", or a class "2xx", "3xx", "4xx" or "5xx"', (value) =>
  /^[2-5](?:\d\d|xx)$/.test(value),
);

/** A status of an error, or a class of them. */
export const errorStatusKey = text('an error status such as "404", or a class "4xx" or "5xx"', (value) =>
  /^[45](?:\d\d|xx)$/.test(value),
);

/** URL of an origin server: scheme, host, port and an optional path prefix. */
export const originUrl = text(
  'a URL "http(s)://host[:port][/prefix]" without user, query and fragment',
  (value) => {
    if (!/^https?:\/\/[^/\\]/i.test(value) || /[\s?#@\\]/.test(value) || CONTROL.test(value)) return false;
    const url = URL.parse(value);
    return url !== null && url.hostname !== "" && url.port !== "0";
  },
  2048,
);

/** URL of a control plane: with TLS, unless it never leaves the machine. */
export const controlUrl = text(
  'a URL "https://host[:port]", or "http://127.0.0.1:port" on the same machine',
  isControlUrl,
  CONTROL_URL_LENGTH_MAX,
);

/** URL of another node. */
export const nodeUrl = text(
  'a URL "http(s)://host[:port]" without user, path, query and fragment',
  (value) => {
    if (!/^https?:\/\/[^/\\]+\/?$/i.test(value) || /[\s?#@\\]/.test(value) || CONTROL.test(value))
      return false;
    const url = URL.parse(value);
    return url !== null && url.hostname !== "" && url.port !== "0";
  },
  2048,
);

/** Address of a NATS server: no user and no password, which would be seen where it is shown. */
export const natsUrl = text('a URL "nats://host:port", or "tls://host:port"', isNatsUrl);

/** Name of a fleet on a bus: in names of streams and in subjects. */
export const natsName = text("a name of 1 to 32 letters, digits, - and _", isNatsName);

/** Name of a user of a NATS server. */
export const natsUser = text("a name of 1 to 200 characters without spaces", (value) =>
  /^[\x21-\x7e]{1,200}$/.test(value),
);

/** Name of a node in its fleet. */
export const nodeName = text("a name of 1 to 63 lower-case letters, digits, - and .", (value) =>
  /^[a-z0-9][a-z0-9.-]{0,62}$/.test(value),
);

/** Name of an environment variable. */
export const variableName = text(
  "a name of an environment variable: letters, digits and _, not beginning with a digit",
  (value) => /^[A-Za-z_][A-Za-z0-9_]{0,254}$/.test(value),
);

const secretForms = [
  z.strictObject({ env: variableName.describe("Environment variable that holds it.") }),
  z.strictObject({ file: filePath.describe("File that holds it; white space at its end does not count.") }),
] as const;

/** Where a secret stands: a config never holds one. */
export const secretRef = z.union(secretForms).register(valueNotes, {
  allowed: '{"env": "NAME"} or {"file": "PATH"}, where the secret stands; never the secret itself',
  secret: true,
});

/** A URL that whoever knows it may post to, or where it stands. */
export const hookUrl = z
  .union([
    z
      .string()
      .max(2048)
      .refine((value) => /^https?:\/\/[^/\\\s@?#]+(?:[/?#]\S*)?$/i.test(value) && URL.canParse(value), {
        error: NOT_ALLOWED,
      }),
    ...secretForms,
  ])
  .register(valueNotes, {
    allowed: 'a URL "http(s)://..." without user, or {"env": "NAME"} or {"file": "PATH"}, where it stands',
    secret: true,
  });

/** An access key's id, or where it stands. */
export const accessKeyId = z
  .union([
    z
      .string()
      .max(128)
      .regex(/^[!-+\-.0-~]+$/),
    ...secretForms,
  ])
  .register(valueNotes, {
    allowed: 'an access key id, or {"env": "NAME"} or {"file": "PATH"}, where it stands',
    secret: true,
  });

/** Name of a bucket of S3, Google Cloud Storage or a store that speaks their protocol. */
export const bucketName = text(
  "a bucket's name: 3 to 222 letters, digits, dots, - and _, beginning and ending with a letter or digit",
  (value) => /^[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]$/.test(value) && !value.includes(".."),
);

/** Name of a push zone. */
export const zoneName = text(
  "a zone's name: 3 to 63 lower-case letters, digits and -, beginning and ending with a letter or digit",
  (value) => /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(value),
);

/** A region of S3. */
export const region = text('a region such as "eu-west-1" or "auto"', (value) =>
  /^[a-z0-9][a-z0-9-]{0,62}$/i.test(value),
);

/** Name of a storage account of Azure. */
export const accountName = text("a storage account's name: 3 to 24 lower-case letters and digits", (value) =>
  /^[a-z0-9]{3,24}$/.test(value),
);

/** Name of a container of Azure Blob Storage. */
export const containerName = text(
  'a container\'s name: 3 to 63 lower-case letters, digits and single -, or "$web" or "$root"',
  (value) => /^(?:\$web|\$root|[a-z0-9](?:-?[a-z0-9]){2,62})$/.test(value) && value.length <= 63,
);

/** What keys of objects begin with. */
export const keyPrefix = text(
  'a prefix of keys such as "site" or "releases/v1/", without "/" at its beginning, control characters, empty parts, "." and ".." as parts',
  (value) =>
    value.isWellFormed() &&
    !CONTROL.test(value) &&
    !value.includes("\\") &&
    !value
      .replace(/\/$/, "")
      .split("/")
      .some((part) => part === "" || part === "." || part === ".."),
  512,
);
