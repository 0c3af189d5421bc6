/** An entry as a search returned it: attribute names in any case, values as text or bytes. */
import type { Entry as RawEntry } from 'ldapts'

export class Entry {
  readonly dn: string
  readonly #values = new Map<string, readonly (string | Buffer)[]>()

  constructor(raw: RawEntry) {
    this.dn = raw.dn
    for (const [attribute, value] of Object.entries(raw)) {
      const values = Array.isArray(value) ? value : [value]
      if (attribute !== 'dn' && values.length > 0) this.#values.set(attribute.toLowerCase(), values)
    }
  }

  /** The first value; undefined when the entry has none, or when Berth may not read it. */
  text(attribute: string): string | undefined {
    return this.texts(attribute)[0]
  }

  texts(attribute: string): readonly string[] {
    return (this.#values.get(attribute.toLowerCase()) ?? []).map(String)
  }

  bytes(attribute: string): Buffer | undefined {
    const value = this.#values.get(attribute.toLowerCase())?.[0]
    return value === undefined || Buffer.isBuffer(value) ? value : Buffer.from(value)
  }

  /**
   * Whether the directory gave a part of the values only. Active Directory does so beyond 1500, under
   * a name such as member;range=0-1499.
   */
  isCut(attribute: string): boolean {
    return [...this.#values.keys()].some((key) =>
      key.startsWith(`${attribute.toLowerCase()};range=`),
    )
  }
}
