/** The option --cacert: a file of CA certificates. */
import { readFileSync } from "node:fs";
import { messageOf } from "../base/errors.ts";
import { UsageError } from "./failure.ts";
import { plainText } from "./io.ts";

const CA_BYTES_MAX = 1_048_576;

/** Its text (PEM). Throws a UsageError. */
export function readCa(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(
      `--cacert ${JSON.stringify(plainText(path))} can not be read: ${messageOf(error)}`,
      error,
    );
  }
  if (text.length > CA_BYTES_MAX || !text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new UsageError(`--cacert ${JSON.stringify(plainText(path))} holds no certificate in PEM`);
  }
  return text;
}
