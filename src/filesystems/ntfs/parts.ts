/** What one version of an NTFS volume consists of: its structures, each read through the same view. */
import type { Log } from "../../images/image.js";
import type { View } from "../../versions/view.js";
import type { NameMatching } from "../filesystem.js";
import { AttributesOfFiles } from "./attributes.js";
import type { Geometry } from "./boot-sector.js";
import { Content } from "./content.js";
import { Descriptors } from "./descriptors.js";
import { Directories } from "./directory.js";
import { Kinds } from "./kind.js";
import { LinkTargets } from "./link-targets.js";
import { MasterFileTable } from "./mft.js";
import { ExtendedAttributes } from "./xattr.js";

export class Parts {
  readonly geometry: Geometry;
  readonly view: View;
  readonly mft: MasterFileTable;
  readonly directories: Directories;
  readonly content: Content;
  readonly kinds: Kinds;
  readonly links: LinkTargets;
  readonly descriptors: Descriptors;
  readonly extendedAttributes: ExtendedAttributes;
  readonly attributes: AttributesOfFiles;

  constructor(geometry: Geometry, view: View, log: Log, matching: NameMatching) {
    this.geometry = geometry;
    this.view = view;
    this.mft = new MasterFileTable(geometry, view);
    this.directories = new Directories(this.mft, log, matching);
    this.content = new Content(this.mft);
    this.kinds = new Kinds(this.mft);
    this.links = new LinkTargets(this.mft, this.directories, this.kinds);
    this.descriptors = new Descriptors(this.mft);
    this.extendedAttributes = new ExtendedAttributes(this.mft, this.content, this.descriptors);
    this.attributes = new AttributesOfFiles(this);
  }

  /** Forgets what is remembered of the volume, when the view has changed. */
  forget(): void {
    this.mft.forget();
    this.directories.forget();
    this.links.forget();
    this.descriptors.forget();
  }
}
