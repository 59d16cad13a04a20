/** How `proxima warm` is written on the command line: its options, read into values, and its help. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type ListenAddress, parseListenAddress } from "../../config/address.ts";
import type { Io } from "../io.ts";
import { type WarmOptions, warmCommand } from "../warm.ts";

const RATE_MAX = 100_000;
/** The runtime's client sends no more at once. */
const CONCURRENCY_MAX = 256;
const TIMEOUT_SECONDS_MAX = 3_600;
const URLS_MAX = 1_000_000;
const HEADERS_MAX = 50;
const HEADER_CHARS_MAX = 8_192;

/** Fields that belong to the URL, the connection or the message. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "connection",
  "content-length",
  "transfer-encoding",
  "te",
  "trailer",
  "upgrade",
  "keep-alive",
  "expect",
  "proxy-connection",
]);

/** Adds the command to the program. */
export function addWarmCommand(root: Command, io: Io, exitHelp: string): void {
  const collect = (value: string, before: readonly string[]): string[] => [...before, value];
  root
    .command("warm")
    .description("fill a running edge ahead of demand: asks it for URLs and reports what it did with them")
    .argument("[SOURCE...]", "URL, URL of a sitemap, file of URLs, sitemap file, or - (standard input)")
    .addOption(
      new Option("--sitemap <SOURCE>", "a sitemap, whatever its name; may be repeated")
        .default([], "none")
        .argParser(collect),
    )
    .addOption(address("--http", "http", 8080))
    .addOption(address("--https", "https", 8443))
    .option("--cacert <FILE>", "check the edge's certificate against these CAs (PEM)")
    .addOption(number("--rate <N>", "most requests a second", 50, 0.01, RATE_MAX))
    .addOption(whole("--concurrency <N>", "most requests at once", 8, CONCURRENCY_MAX))
    .addOption(
      new Option("--header <LINE>", "a header field 'Name: value'; may be repeated")
        .default([], "none")
        .argParser(readHeader),
    )
    .addOption(
      number(
        "--timeout <SECONDS>",
        "give up on a request without a byte for so long",
        30,
        0.1,
        TIMEOUT_SECONDS_MAX,
      ),
    )
    .addOption(whole("--max-urls <N>", "most URLs; the rest is left out", URLS_MAX, URLS_MAX))
    .option("--json", "print the report as JSON")
    .addHelpText(
      "after",
      `
Whatever host a URL names, it is asked of the edge, with that Host and TLS server name. Without --cacert the edge's
certificate is not checked: the connection is to your own edge.

Files hold one URL a line (# begins a comment) or are sitemaps or indexes of sitemaps; gzip is unpacked. A URL is
a sitemap when its name ends like sitemap.xml, or with --sitemap; it is fetched through the edge as well. Redirects
of pages are not followed. A header field that the answer varies by fills the variant of its value.

The status is 0 only when every URL was answered below 400. Ctrl+C ends it, with the report so far.

Examples:
  $ proxima warm https://shop.example/ https://shop.example/app.css
  $ proxima warm https://shop.example/sitemap.xml --rate 200 --concurrency 16
  $ proxima warm urls.txt --header 'Accept-Language: de' --https edge1.example:443 --cacert ca.pem
  $ git diff --name-only v1 v2 -- public | sed 's|^public|https://shop.example|' | proxima warm -
${exitHelp}`,
    )
    .action((sources: string[], options: WarmOptions) => warmCommand(sources, options, io));
}

function address(flag: string, scheme: string, port: number): Option {
  const shown = `127.0.0.1:${port}`;
  return new Option(`${flag} <HOST:PORT>`, `where the edge listens for ${scheme}`)
    .default({ hostname: "127.0.0.1", port }, shown)
    .argParser((text): ListenAddress => {
      const read = parseListenAddress(text);
      if (read === null || read.port === 0) {
        throw new InvalidArgumentError(
          "Expected HOST:PORT, :PORT or [::1]:PORT, with a port from 1 to 65535.",
        );
      }
      return read;
    });
}

function number(flag: string, description: string, value: number, min: number, max: number): Option {
  return new Option(flag, description).default(value).argParser((text) => {
    const read = /^\d{1,9}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
    if (!(read >= min && read <= max))
      throw new InvalidArgumentError(`Expected a number from ${min} to ${max}.`);
    return read;
  });
}

function whole(flag: string, description: string, value: number, max: number): Option {
  return new Option(flag, description).default(value).argParser((text) => {
    const read = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(read >= 1 && read <= max))
      throw new InvalidArgumentError(`Expected a whole number from 1 to ${max}.`);
    return read;
  });
}

function readHeader(
  line: string,
  before: readonly (readonly [string, string])[],
): (readonly [string, string])[] {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/.exec(line);
  const [, name = "", value = ""] = match ?? [];
  if (match === null || line.length > HEADER_CHARS_MAX)
    throw new InvalidArgumentError("Expected 'Name: value'.");
  if (OWN_FIELDS.has(name.toLowerCase())) {
    throw new InvalidArgumentError(`${name} can not be chosen: the URL and the connection say it.`);
  }
  if (before.length >= HEADERS_MAX) throw new InvalidArgumentError(`Expected at most ${HEADERS_MAX} fields.`);
  return [...before, [name, value]];
}
