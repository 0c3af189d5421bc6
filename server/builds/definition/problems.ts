/** Collects what is wrong with a definition, so that no file makes more of it than a person reads. */
import type { Problem } from './definition.ts'

/** Nobody reads more of them, and each costs a line of the answer. */
const maxShown = 20
/** Both readings of a file find their problems from the top, so that the first ones are among these. */
const maxKept = 200

export class Problems {
  readonly #found: Problem[] = []

  get isEmpty(): boolean {
    return this.#found.length === 0
  }

  add(line: number, message: string): void {
    if (this.#found.length < maxKept) this.#found.push({ line, message })
  }

  addAll(problems: readonly Problem[]): void {
    for (const { line, message } of problems) this.add(line, message)
  }

  /** The first ones by their lines, each once. */
  list(): readonly Problem[] {
    const distinct = new Map(this.#found.map((one) => [`${one.line} ${one.message}`, one]))
    return [...distinct.values()].sort((a, b) => a.line - b.line).slice(0, maxShown)
  }
}

/** A piece of the file in a message: short, and without what a terminal would obey. */
export function shown(text: string): string {
  const plain = text.slice(0, 80).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?')
  return plain.length > 60 ? `${plain.slice(0, 57)}...` : plain
}
