# What can be chosen: `parallelize image build` sets these, or `packer build -var NAME=VALUE`.

variable "wheel" {
  type        = string
  description = "The agent's wheel, as `python -m build --wheel` makes it."
}

variable "agent_version" {
  type        = string
  description = "The agent's version; `launch` finds images by their tag with it."
}

variable "region" {
  type        = string
  default     = null
  description = "The region to build in; null takes it from your AWS settings."
}

variable "base" {
  type        = string
  default     = "debian-13"
  description = "One of the base images in versions.auto.pkrvars.hcl."
}

variable "architecture" {
  type        = string
  default     = "amd64"
  description = "The processor: amd64 or arm64."
}

variable "instance_types" {
  type        = map(string)
  description = "For each architecture, the instance type to build on."
}

variable "bases" {
  type = map(object({
    owner      = string
    name       = string
    username   = string
    device     = string
    gpu        = bool
    volume_gib = number
  }))
  description = "The images to start from; only the owner's are used, whoever copies the name."
}

variable "extra_packages" {
  type        = string
  default     = ""
  description = "Debian packages for the jobs, separated by spaces."
}

variable "extra_requirements" {
  type        = string
  default     = ""
  description = "Python requirements for the jobs, separated by spaces."
}

variable "volume_gib" {
  type        = number
  default     = null
  description = "Size of the image's root volume; null takes the base's. A worker's own may be larger."
}

variable "kms_key_id" {
  type        = string
  default     = null
  description = "The key that the image is encrypted with; null takes the account's default key for EBS."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "Where the builder runs; null takes the default VPC."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of your organization, for everything that the build makes."
}

variable "manifest" {
  type        = string
  default     = "manifest.json"
  description = "The file in which Packer records what it made."
}
