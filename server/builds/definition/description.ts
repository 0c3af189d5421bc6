/** A definition as the object that the enterprise interface shows (enterprise.md 8.5). */
import type { Definition, Section, Stage } from './definition.ts'
import { copiesIn, originOf } from './files.ts'

export interface DefinitionDescription {
  /** All headers by their names in lower case; at least `bootstrap` and `from`. */
  readonly header: Readonly<Record<string, string>>
  readonly imageData: {
    readonly imageScripts: {
      readonly help: string
      readonly environment: string
      readonly runScript: string
      readonly test: string
    }
  }
  readonly buildData: {
    /** Source to destination, of what is copied from the submitter's machine. */
    readonly files: Readonly<Record<string, string>>
    readonly buildScripts: { readonly setup: string; readonly post: string }
  }
}

/** Of the last stage, which is the image's. */
export function describeDefinition({ stages }: Definition): DefinitionDescription {
  const stage = stages.at(-1)
  const script = (name: string): string => scriptOf(stage, name)
  const headers = [...(stage?.headers ?? [])].map(([name, { value }]) => [name, value] as const)
  return {
    header: { bootstrap: '', from: '', ...Object.fromEntries(headers) },
    imageData: {
      imageScripts: {
        help: script('help'),
        environment: script('environment'),
        runScript: script('runscript'),
        test: script('test'),
      },
    },
    buildData: {
      files: Object.fromEntries(
        sectionsOf(stage, 'files')
          .filter((section) => originOf(section).kind === 'host')
          .flatMap(copiesIn)
          .map(({ source, destination }) => [source, destination]),
      ),
      buildScripts: { setup: script('setup'), post: script('post') },
    },
  }
}

function scriptOf(stage: Stage | undefined, name: string): string {
  return sectionsOf(stage, name)
    .map(({ body }) => body.join('\n').trimEnd())
    .filter((text) => text !== '')
    .map((text) => `${text}\n`)
    .join('')
}

function sectionsOf(stage: Stage | undefined, name: string): readonly Section[] {
  return stage?.sections.filter((section) => section.name === name) ?? []
}
