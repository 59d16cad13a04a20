/** How `proxima audit` is written on the command line: its options, read into values, and its help. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseSize } from "../../config/size.ts";
import type { Io } from "../io.ts";
import { numberOption, readField, wholeOption } from "../option-values.ts";
import type { AuditOptions } from "./audit.ts";
import { LEVELS } from "./finding.ts";

const URLS_MAX = 100_000;
const DEPTH_MAX = 1_000;
const BYTES_MAX = 2 ** 40;

/** Adds the command to the program. */
export function addAuditCommand(root: Command, io: Io, exitHelp: string): void {
  root
    .command("audit")
    .description("walk an origin and say what will cost hit ratio or leak, each with its fix")
    .argument("<URL...>", "where to begin; only their hosts are asked")
    .addOption(wholeOption("--max-urls <N>", "most URLs", 500, URLS_MAX))
    .addOption(wholeOption("--depth <N>", "most links from the first URLs", 10, DEPTH_MAX))
    .addOption(
      new Option("--max-bytes <SIZE>", "most bytes of bodies, such as 256MiB")
        .default(256 * 1_024 * 1_024, "256MiB")
        .argParser(readBytes),
    )
    .addOption(numberOption("--time <SECONDS>", "most time for all of it", 120, 0.1, 86_400))
    .addOption(numberOption("--rate <N>", "most requests a second", 20, 0.01, 100_000))
    .addOption(wholeOption("--concurrency <N>", "most requests at once", 4, 256))
    .addOption(numberOption("--timeout <SECONDS>", "most time for one answer", 15, 0.1, 3_600))
    .addOption(
      new Option("--header <LINE>", "a header field 'Name: value'; may be repeated")
        .default([], "none")
        .argParser(readField),
    )
    .option("--cacert <FILE>", "check certificates against these CAs (PEM)")
    .addOption(
      new Option("--level <LEVEL>", "the status is 1 when something of this level, or a graver one, is found")
        .choices([...LEVELS, "never"])
        .default("warning"),
    )
    .option("--json", "print the report as JSON")
    .addHelpText(
      "after",
      `
Links are followed on the hosts of the URLs, in HTML, CSS and sitemaps; redirects too. What may be kept is asked for
a second time, with its validators. With a Cookie or Authorization in --header, what shared caches may keep is also
asked for without them: an answer that is another one then would leak. What a limit leaves out is told.

The status is 1 when something was found (--level), or when a URL that was named gave no answer.

Examples:
  $ proxima audit http://127.0.0.1:3000/
  $ proxima audit https://shop.example/ --max-urls 2000 --json
  $ proxima audit https://shop.example/account --header 'Cookie: sid=...' --level error
${exitHelp}`,
    )
    .action(async (urls: string[], options: AuditOptions) => {
      const { auditCommand } = await import("./audit.ts");
      await auditCommand(urls, options, io);
    });
}

function readBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes === null || bytes < 1 || bytes > BYTES_MAX)
    throw new InvalidArgumentError("Expected a size from 1 to 1TiB, such as 256MiB.");
  return bytes;
}
