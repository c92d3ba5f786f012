# Apart from the template, because the Packer of Debian, 1.6, knows no plugins but its own.

packer {
  required_version = ">= 1.9.0"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
  }
}
