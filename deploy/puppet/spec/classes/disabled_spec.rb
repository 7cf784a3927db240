# frozen_string_literal: true

require 'spec_helper'

describe 'login_duo::disabled' do
  it { is_expected.to compile.with_all_deps }
  it { is_expected.to contain_login_duo_service('all').with_ensure('disabled') }
  it { is_expected.not_to contain_class('login_duo') }
end
