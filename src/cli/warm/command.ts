/** How `proxima warm` is written on the command line: its options, read into values, and its help. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type ListenAddress, parseListenAddress } from "../../config/address.ts";
import type { Io } from "../io.ts";
import { numberOption, readField, wholeOption } from "../option-values.ts";
import type { WarmOptions } from "../warm.ts";

const RATE_MAX = 100_000;
/** The runtime's client sends no more at once. */
const CONCURRENCY_MAX = 256;
const TIMEOUT_SECONDS_MAX = 3_600;
const URLS_MAX = 1_000_000;

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
    .addOption(numberOption("--rate <N>", "most requests a second", 50, 0.01, RATE_MAX))
    .addOption(wholeOption("--concurrency <N>", "most requests at once", 8, CONCURRENCY_MAX))
    .addOption(
      new Option("--header <LINE>", "a header field 'Name: value'; may be repeated")
        .default([], "none")
        .argParser(readField),
    )
    .addOption(
      numberOption(
        "--timeout <SECONDS>",
        "give up on a request without a byte for so long",
        30,
        0.1,
        TIMEOUT_SECONDS_MAX,
      ),
    )
    .addOption(wholeOption("--max-urls <N>", "most URLs; the rest is left out", URLS_MAX, URLS_MAX))
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
    .action(async (sources: string[], options: WarmOptions) => {
      const { warmCommand } = await import("../warm.ts");
      await warmCommand(sources, options, io);
    });
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
