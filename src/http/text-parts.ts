/**
 * A text as it is put together: a head, a field's value, a key. Adding to a string makes an object for every
 * three parts; here the parts are only listed, and joined once. One text at a time: nothing may be awaited
 * between `begin` and the end.
 */

/** Writes texts, one after another; the list of parts is used again. */
export class TextParts {
  readonly #parts: string[] = [];
  #count = 0;

  /** Begins another text, whatever became of the last one. */
  begin(): void {
    this.#count = 0;
  }

  /** Adds text as it is. */
  add(text: string): void {
    this.#parts[this.#count++] = text;
  }

  /** Adds a field line. Name and value have been checked by the caller. */
  line(name: string, value: string): void {
    const parts = this.#parts;
    let at = this.#count;
    parts[at++] = name;
    parts[at++] = ": ";
    parts[at++] = value;
    parts[at++] = "\r\n";
    this.#count = at;
  }

  /** What was added since `begin`. */
  text(): string {
    this.#parts.length = this.#count;
    return this.#parts.join("");
  }

  /** The same in latin1. */
  bytes(): Buffer {
    return Buffer.from(this.text(), "latin1");
  }
}
